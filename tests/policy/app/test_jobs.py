"""Model folders are kept by content, and jobs refuse what has no files."""

import pytest

from lm.config import ConfigError
from lm.model_files import digest
from policy.app import rounds
from policy.app.jobs import bring_policy
from policy.app.models import Policy, Sample
from policy.app.storage import add_policy, keep_model
from runs.models import Run
from tests.policy.app.conftest import FEW, do, write_model


def test_a_model_folder_is_kept_under_its_digest(data, model):
    (model / "code.py").write_text("print()")
    (model / "tokenizer.json").write_text("{}")

    place, found = keep_model(model)
    again, _ = keep_model(model)

    assert place == again == f"models/{found[:12]}"
    assert found == digest(model) == digest(data / place)
    kept = {path.name for path in (data / place).iterdir()}
    assert kept == {"config.json", "model.safetensors", "tokenizer.json"}
    assert len(list((data / "models").iterdir())) == 1


def test_the_digest_follows_config_and_weights(model, tmp_path):
    other = write_model(tmp_path / "other", "other weights")
    assert digest(model) != digest(other)
    (other / "model.safetensors").write_text("weights")
    assert digest(model) == digest(other)
    (other / "config.json").write_text('{"layers": 3}')
    assert digest(model) != digest(other)


def test_what_is_no_model_folder_is_refused(data, model, tmp_path):
    with pytest.raises(ConfigError, match=r"it has no config\.json"):
        keep_model(tmp_path)
    (model / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has no weights"):
        keep_model(model)
    assert not (data / "models").exists()


def test_a_project_has_one_base_and_one_policy_of_a_name(project, base, model):
    with pytest.raises(ConfigError, match="has a base already, 'starter'"):
        add_policy(project, "other", model, base=True)
    with pytest.raises(ConfigError, match="has a policy 'starter' already"):
        add_policy(project, "starter", model, base=False)


def test_an_imported_policy_gets_its_model_files_later(project, model):
    words = Policy.objects.create(project=project, name="starter", kind="imported")

    policy = add_policy(project, "starter", model, base=True)

    assert (policy.pk, policy.kind) == (words.pk, "base")
    assert policy.folder.is_dir()


def test_imported_responses_are_those_of_the_base_of_that_name(base):
    assert Policy.objects.get() == base
    assert Sample.objects.filter(policy=base).count() == 16


def test_a_run_whose_policy_has_no_files_says_so(project, tmp_path):
    words = Policy.objects.create(project=project, name="elsewhere", kind="imported")

    with pytest.raises(ConfigError, match="policy 'elsewhere' has no model files"):
        bring_policy(words, Run(pk=1).directory)


def test_samples_without_a_round_start_nothing(project, base):
    do(rounds.sample_base(base, by="the demo", settings=FEW))

    assert Run.objects.count() == 1


def test_the_base_is_sampled_once(project, base):
    first = rounds.sample_base(base, by="the demo", settings=FEW)

    assert rounds.sample_base(base, by="ada", settings=FEW) == first
    do(first)
    assert rounds.sample_base(base, by="ada", settings=FEW) == first
