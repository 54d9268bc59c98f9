from django.db import migrations

#: Category, slug, label, colour. People's from then on: edited or deleted, they are never put back.
TAGS = [
    ("environment", "production", "Production", "#dc2626"),
    ("environment", "staging", "Staging", "#d97706"),
    ("environment", "test", "Test", "#2563eb"),
    ("environment", "development", "Development", "#16a34a"),
    ("location", "primary-site", "Primary site", "#0f766e"),
    ("location", "disaster-recovery", "Disaster recovery", "#7c3aed"),
    ("location", "cloud", "Cloud", "#0284c7"),
    ("department", "finance", "Finance", "#64748b"),
    ("department", "operations", "Operations", "#64748b"),
    ("department", "analytics", "Analytics", "#64748b"),
]


def install(apps, schema_editor):
    tag = apps.get_model("tagging", "Tag")
    tag.objects.bulk_create(
        [
            tag(category=category, slug=slug, label=label, colour=colour)
            for category, slug, label, colour in TAGS
        ],
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("tagging", "0003_operations_in_background")]

    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
