from django.db import migrations, models

PROOF = {
    "choices": [
        ("strict", "strict: methods that reveal nothing"),
        ("hashes", "hashes allowed: md5, mysql_native_password, caching_sha2_password, Oracle"),
        ("as_before", "as before: any method that the server requests"),
    ],
    "help_text": "Which login methods are allowed while the server's identity is not proved. A verified certificate, a compared fingerprint or a Unix socket proves it; TLS alone does not.",
    "max_length": 10,
    "verbose_name": "while the server is unproven",
}


def prove(apps, schema_editor):
    """For those that are proved already the choice changes nothing."""
    instances = apps.get_model("instances", "Instance").objects
    named = models.Q(engine="postgresql") | ~models.Q(tls_ca="")
    verified = models.Q(tls_mode="verify-full") | models.Q(named, tls_mode="verify-ca")
    instances.filter(models.Q(host__startswith="/") | verified).update(proof="strict")


class Migration(migrations.Migration):
    """Instances that are there go on as before, unless their servers are proved; new ones are strict."""

    dependencies = [
        ("instances", "0003_oracle"),
    ]

    operations = [
        migrations.AddField(
            model_name="instance",
            name="proof",
            field=models.CharField(default="as_before", **PROOF),
        ),
        migrations.AlterField(
            model_name="instance",
            name="proof",
            field=models.CharField(default="strict", **PROOF),
        ),
        migrations.RunPython(prove, migrations.RunPython.noop),
        migrations.AddField(
            model_name="instance",
            name="certificate",
            field=models.CharField(
                blank=True,
                help_text="SHA-256 fingerprint. Empty: that of the first successful connection is pinned. Servers with another certificate are refused.",
                max_length=200,
                verbose_name="pinned certificate",
            ),
        ),
        migrations.AddField(
            model_name="instance",
            name="certificate_compared",
            field=models.BooleanField(
                default=False,
                help_text="A person has compared it with the one on the server. It proves the server's identity.",
                verbose_name="fingerprint compared",
            ),
        ),
        migrations.AddField(
            model_name="instance",
            name="seen_certificate",
            field=models.CharField(blank=True, editable=False, max_length=64, verbose_name="certificate shown"),
        ),
        migrations.AddField(
            model_name="instance",
            name="seen_certificate_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="certificate shown at"),
        ),
    ]
