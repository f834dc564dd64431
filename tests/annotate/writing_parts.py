"""Prompts that want demonstrations, and short ways to write and review."""

from uuid import uuid4

from annotate.exchange import add_prompt
from annotate.models import Demonstration, Project, Prompt, Response, User, content_hash
from annotate.reviewing import Said, review
from annotate.writing import Sent, draft_version, next_to_write, send
from lm import records


def prompt_wanting(
    project: Project, number: int = 1, *, wanted: int = 1, tags: tuple[str, ...] = ()
) -> Prompt:
    message = records.Message(role="user", content=f"Question {number}?")
    prompt, _ = add_prompt(project, records.Prompt(prompt_id=f"p{number}", messages=(message,), tags=tags))
    prompt.demonstrations_wanted, prompt.split = wanted, "train"
    prompt.save()
    return prompt


def sampled(prompt: Prompt, text: str) -> Response:
    return Response.objects.create(prompt=prompt, text=text, content_hash=content_hash(text))


def sent(text: str = "An answer.", **more) -> Sent:
    return Sent(client_key=uuid4(), text=text, **more)


def written(writer: User, project: Project, text: str = "An answer.", **more) -> Demonstration:
    """What the writer gets next, written and sent."""
    demonstration = next_to_write(writer, project)
    assert demonstration is not None
    send(demonstration, sent(text, seen=draft_version(demonstration), **more))
    demonstration.refresh_from_db()
    return demonstration


def said(verdict: str, note: str = "", version: int = 1) -> Said:
    return Said(client_key=uuid4(), version=version, verdict=verdict, note=note)


def accepted(writer: User, reviewer: User, project: Project, text: str = "An answer.") -> Demonstration:
    demonstration = written(writer, project, text)
    review(demonstration, reviewer, said("accept"))
    demonstration.refresh_from_db()
    return demonstration
