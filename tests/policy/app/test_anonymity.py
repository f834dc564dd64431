"""No byte that a rater's session gets says which policy wrote what."""

import json
import re
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import Client

from annotate.models import (
    Assignment,
    Comparison,
    Membership,
    Project,
    Prompt,
    Response,
    Role,
    SignInLink,
    User,
)
from policy.app.models import Policy, Sample

POLICIES = ("telling-gamma-ppo-round-7", "telling-delta-base")
BIG = 7_000_000_000  # ids begin here, so that one of them in a page can't be chance


@pytest.fixture
def telling(db, tmp_path: Path) -> Project:
    """A project whose policies have telling names, and whose rows have telling ids."""
    project = Project.objects.create(pk=BIG, slug="telling", name="Telling")
    for number in range(1, 7):
        prompt = Prompt.objects.create(
            pk=BIG + 100 + number,
            project=project,
            name=f"telling-prompt-{number}",
            messages=[{"role": "user", "content": f"Question {number}?"}],
            cluster=str(number),
            split="train",
            content_hash=str(number),
        )
        for place in range(len(POLICIES)):
            Response.objects.create(
                pk=BIG + 1000 * (place + 1) + number,
                prompt=prompt,
                text=f"Answer {place} to {number}.",
                content_hash=f"{place}{number}",
            )
    file = tmp_path / "telling-responses.jsonl"
    lines = [
        {
            "prompt_id": f"telling-prompt-{number}",
            "response": f"Telling answer {place} to {number}.",
            "policy": policy,
            "seed": 9_000_000 + number,
            "settings": {"checkpoint": "telling-step-120"},
        }
        for number in range(1, 7)
        for place, policy in enumerate(POLICIES)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    call_command("import_responses", file, project="telling", pairs_per_prompt=2)
    Comparison.objects.update(batch="telling-batch-7", score=0.7312)
    return project


def secrets_of(project: Project) -> set[str]:
    """What must not reach a rater: names of policies, prompts and files, ids, hashes, seeds, the secret."""
    found = {
        *POLICIES,
        "telling-prompt",
        "telling-step",
        "telling-responses",
        "telling-batch",
        "0.7312",
        "900000",
        project.secret,
        str(BIG)[:7],
    }
    for policy in Policy.objects.all():
        found.add(policy.name)
    found |= {
        content for content in Response.objects.values_list("content_hash", flat=True) if len(content) > 10
    }
    return found


def answer_bytes(response) -> bytes:
    """All of an answer: status line, headers, cookies, body."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    cookies = response.cookies.output().encode()
    return f"{response.reason_phrase} {response.headers}".encode() + cookies + body


def test_a_raters_session_holds_no_name_and_no_id_of_what_is_compared(telling):
    rater = User.objects.create_user("rater")
    Membership.objects.create(user=rater, project=telling, role=Role.RATER)
    client = Client()
    got = [client.get("/"), client.get("/sign-in/")]
    link = f"/sign-in/{SignInLink.issue(rater)}/"
    got += [client.get(link), client.post(link), client.get("/")]
    for number in range(Comparison.objects.count()):
        page = client.get("/projects/telling/compare/")
        key = re.search(r"/assignments/([\w-]+)/judge/", page.content.decode())[1]
        act = ("judge", "judge", "skip")[number % 3]
        good = {"client_key": uuid4(), "order": ("1>2", "1=2", "2>1")[number % 3]}
        got += [page, client.post(f"/assignments/{key}/judge/", {"order": "9"})]
        got.append(client.post(f"/assignments/{key}/{act}/", good))
        if act == "judge":
            got.append(client.post(f"/assignments/{key}/judge/", {**good, "client_key": uuid4()}))
            got.append(client.post(f"/assignments/{key}/undo/"))
            got.append(client.post(f"/assignments/{key}/judge/", {**good, "client_key": uuid4()}))
        flag = {"client_key": uuid4(), "kind": "identity", "position": 1, "note": "names itself"}
        for headers in ({}, {"X-Requested-With": "fetch"}):
            got.append(client.post(f"/assignments/{key}/flag/", flag, headers=headers))
            got.append(client.post(f"/assignments/{key}/judge/", {"order": "9"}, headers=headers))
            got.append(client.post(f"/assignments/{key}/undo/", headers=headers))
            got.append(client.get(f"/projects/telling/next/?held={key}", headers=headers))
            got.append(client.post(f"/assignments/{key}/judge/", {**good, "client_key": uuid4()}))
            got.append(client.get(f"/assignments/{key}/change/", headers=headers))
            got.append(client.get("/projects/telling/recent/", headers=headers))
        got.append(client.post(f"/assignments/{key}/heartbeat/"))
        got.append(client.post(f"/assignments/{key}/release/"))
        got.append(client.get(f"/assignments/{key}/explained/"))
    got.append(client.get("/projects/telling/compare/"))
    pages = ("record", "write", "review", "people", "quality", "browse", "queue", "settings", "imports")
    got += [client.get(f"/projects/telling/{page}/") for page in (*pages, "demonstrations", "guidelines")]
    got += [client.get("/keys/"), client.post("/keys/", {"skip": "12"}), client.get("/account/")]
    for path in ("/projects/telling/", "/projects/telling/pairs.jsonl", "/runs/", "/nothing/", "/health"):
        got.append(client.get(path))

    everything = b"\n".join(answer_bytes(answer) for answer in got)
    assert Assignment.objects.count() == Comparison.objects.count() > 6
    assert Sample.objects.count() == 12
    assert b"Telling answer 0" in everything
    for secret in secrets_of(telling):
        assert secret.encode() not in everything, secret


def test_annotate_cannot_say_who_wrote_a_response():
    names = {field.name for model in (Response, Comparison, Assignment) for field in model._meta.get_fields()}

    forward = names - {"samples"}  # the relation back from policy.app, which annotate never follows
    assert not {"policy", "model", "checkpoint", "run"} & forward
    source = "".join(path.read_text() for path in Path("annotate").rglob("*.py"))
    assert re.search(r"""\.samples\b|\bsamples__|["']samples["']""", source) is None
    assert "import policy" not in source
    assert "from policy" not in source
