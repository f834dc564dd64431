import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate import spreadsheet
from annotate.models import AuditEvent, Project, User

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "|calc",
    " =1",
    "\u200b=1",
    "\ufeff=1",
    "\u00a0=1",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "｜x",
]


@pytest.fixture
def client(admin, signed_in):
    return signed_in(admin)


def rows_of(answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_log_holds_what_was_done_here_and_how_members_signed_in(client, project, admin, alice):
    AuditEvent.record("invited", admin, project, role="writer")
    AuditEvent.record("signed-in", alice, how="password+code")
    AuditEvent.record("signed-in", User.objects.create_user("stranger"), how="link")
    AuditEvent.record("invited", admin, Project.objects.create(slug="other", name="Other"), role="admin")

    html = client.get("/projects/shop/audit/").content.decode()

    assert "made an invitation" in html
    assert "role writer" in html
    assert "how password+code" in html
    assert "stranger" not in html
    assert "role admin" not in html


def test_the_log_is_filtered_by_action_and_person(client, project, admin, alice):
    AuditEvent.record("invited", admin, project, note="one")
    AuditEvent.record("joined", alice, project, note="two")
    AuditEvent.record("joined", admin, project, note="three")

    html = client.get(f"/projects/shop/audit/?action=joined&person={alice.pk}").content.decode()

    assert "note two" in html
    assert "note one" not in html
    assert "note three" not in html


@pytest.mark.parametrize(
    "query",
    ["action=deleted", "action=actor__password", "person=999999", "person=x", "before=x", "person=1__in"],
)
def test_a_filter_that_the_log_does_not_hold_is_refused(client, query):
    assert client.get(f"/projects/shop/audit/?{query}").status_code == 400


def test_pages_go_on_where_the_last_one_ended(client, project, admin, monkeypatch):
    monkeypatch.setattr("annotate.views.audit.PAGE", 2)
    for number in range(5):
        AuditEvent.record("noted", admin, project, number=number)

    seen, address = [], "/projects/shop/audit/"
    while address:
        context = client.get(address).context
        seen += [event.detail["number"] for event, _, _ in context["events"] if event.action == "noted"]
        address = f"/projects/shop/audit/?before={context['next']}" if context["next"] else ""

    assert seen == [4, 3, 2, 1, 0]


def test_the_file_holds_the_log_and_its_own_download(client, project, admin):
    AuditEvent.record("noted", admin, project, text="=HYPERLINK(1)")

    first, second = (rows_of(client.get("/projects/shop/audit.csv")) for _ in range(2))

    assert {row["action"] for row in first} >= {"noted"}
    assert "downloaded" in {row["action"] for row in second}


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_opens_as_a_formula(text):
    assert spreadsheet.guarded(text) == f"'{text}"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_what_was_guarded_reads_back_and_never_begins_a_formula(text):
    cell = str(spreadsheet.guarded(text))

    assert (cell[1:] if cell.startswith("'") else cell) == text
    assert not cell.startswith(tuple("=+-@|\t\r\n"))


def test_numbers_stay_numbers():
    assert (
        b"".join(line.encode() for line in spreadsheet.lines(("a", "b"), [(-1, "x")]))
        == b'"a","b"\r\n-1,"x"\r\n'
    )
