from lm.records import Message
from worlds.page import collapsed, read_page

OPEN = """
<!doctype html><html><head><title>Compare</title></head><body>
<form method="post" action="/theme/"><input type="hidden" name="csrfmiddlewaretoken" value="other"></form>
<form id="comparison" method="post" action="/assignments/0b6c/judge/">
  <input type="hidden" name="csrfmiddlewaretoken" value="t&amp;k">
  <input type="hidden" name="client_key" value="5e8d"><input type="hidden" name="shown_at">
  <main id="main">
  <section class="talk" aria-label="Conversation">
    <details><summary>2 earlier turns</summary>
    <div class="turn past" data-role="user"><p class="who">Person</p><div class="prose" dir="auto">
      <p>Notes: tent Ardo; price: $65; colour: teal<br>
How much is it?</p></div></div>
    <div class="turn past" data-role="assistant"><p class="who">Assistant</p>
      <div class="prose"><p>$65.</p></div></div>
    </details>
    <div class="turn asked" data-role="user"><p class="who">Person</p>
      <div class="prose"><p>And &lt;the&gt; colour?</p></div></div>
  </section>
  <div class="sides">
  <section class="side a" data-position="1"><header><h2>Response A</h2></header>
    <div class="prose"><p>It is <strong>te</strong>al.</p>
      <ul><li>light</li><li>dry</li></ul><div>More</div></div></section>
  <section class="side b" data-position="2"><header><h2>Response B</h2></header>
    <div class="prose"><table><tr>
      <th>Colour</th>
      <td>red</td></tr></table><pre><code>a  b
c</code></pre></div></section>
  </div></main>
  <aside><div class="guideline"><p>Be kind.</p></div></aside>
  <button class="vote" name="order" value="1&gt;2">A</button><button name="order" value="1=2">Tie</button>
  <button name="order" value="2&gt;1">B</button><button name="all_bad" value="1">Both bad</button>
</form>
<form id="skip" method="post" action="/assignments/0b6c/skip/">
  <input type="hidden" name="csrfmiddlewaretoken" value="x">
</form>
</body></html>
"""


def test_the_conversation_is_read_in_order_with_its_roles():
    assert read_page(OPEN).messages == [
        Message(role="user", content="Notes: tent Ardo; price: $65; colour: teal\nHow much is it?"),
        Message(role="assistant", content="$65."),
        Message(role="user", content="And <the> colour?"),
    ]


def test_the_responses_are_read_as_they_are_seen():
    assert read_page(OPEN).shown == ["It is teal.\nlight\ndry\nMore", "Colour red\na b\nc"]


def test_the_form_is_read_with_its_own_fields_only():
    page = read_page(OPEN)
    assert page.forms["comparison"].action == "/assignments/0b6c/judge/"
    assert page.forms["comparison"].fields == {
        "csrfmiddlewaretoken": "t&k",
        "client_key": "5e8d",
        "shown_at": "",
    }
    assert page.offered == {"1>2", "1=2", "2>1", "all_bad"}
    assert not page.empty


def test_a_page_that_says_so_has_nothing_left():
    page = read_page('<main class="done" data-state="empty"><h1>Nothing left</h1></main>')
    assert page.empty
    assert "comparison" not in page.forms


def test_text_is_collapsed_within_its_lines():
    assert collapsed("  a \t b\n\n \n c\u00a0d ") == "a b\nc d"
