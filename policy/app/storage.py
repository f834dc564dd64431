"""Model folders of policies that no run of ours has made, kept in the data directory under their digest."""

import shutil
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.db import transaction

from annotate.models import Project
from lm.config import ConfigError
from lm.model_files import digest
from policy.app.models import Policy, PolicyKind

KEPT = {".json", ".safetensors", ".txt", ".model", ".jinja"}  # weights, config, tokenizer; never code


def keep_model(folder: Path) -> tuple[str, str]:
    """Copy a model folder; returns where it is in the data directory, and its digest."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no model folder: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(f"{folder} has no weights: a file *.safetensors is missing")
    models = settings.DATA_DIR / "models"
    aside = models / f".tmp-{uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.suffix in KEPT:
                shutil.copyfile(file, aside / file.name)  # not the mode: the data directory is closed
        found = digest(aside)
        target = models / found[:12]
        if not target.is_dir():
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return str(target.relative_to(settings.DATA_DIR)), found


@transaction.atomic
def add_policy(project: Project, name: str, folder: Path, *, base: bool) -> Policy:
    """Add a policy with its model files; one of which only the words were imported gets them now."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    earlier = Policy.objects.filter(project=project, name=name).first()
    if earlier is not None and (earlier.model or earlier.kind != PolicyKind.IMPORTED):
        raise ConfigError(f"{project.slug} has a policy {name!r} already")
    if base and (other := Policy.objects.filter(project=project, kind=PolicyKind.BASE).first()):
        raise ConfigError(f"{project.slug} has a base already, {other.name!r}; all rounds start from it")
    policy = earlier or Policy(project=project, name=name)
    policy.kind = PolicyKind.BASE if base else PolicyKind.IMPORTED
    policy.model, policy.digest = keep_model(folder)
    policy.save()
    return policy
