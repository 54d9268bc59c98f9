"""Results store why a rule failed; the sentence around it is made when shown."""

from django.db import migrations, models

STRIP = r"""
UPDATE classification_ruleresult SET message = regexp_replace(message, '^rule [^ ]+ was not applied: ', '')
 WHERE message LIKE 'rule %'
"""


class Migration(migrations.Migration):

    dependencies = [
        ('classification', '0003_choices_by_function'),
    ]

    operations = [
        migrations.RenameField(model_name='ruleresult', old_name='error', new_name='message'),
        migrations.AlterField(
            model_name='ruleresult',
            name='message',
            field=models.TextField(blank=True, verbose_name='message'),
        ),
        migrations.RunSQL(STRIP, migrations.RunSQL.noop),
    ]
