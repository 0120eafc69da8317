import json

from hypothesis import given
from hypothesis import strategies as st

from kbit.report.html import Html, join, script_json, tag


def test_text_is_escaped_wherever_it_stands():
    evil = '<script>alert("1")</script>'
    made = tag("p", evil, tag("b", [evil, None]), title=evil)
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 3
    assert 'title="&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"' in made


def test_what_was_built_is_not_escaped_again():
    assert tag("p", tag("b", "x")) == "<p><b>x</b></p>"
    assert isinstance(join("a", tag("b", "c")), Html)


@given(
    st.recursive(st.text() | st.integers() | st.none(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
def test_json_between_script_tags_says_the_same_and_holds_no_markup(data):
    text = script_json(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")
