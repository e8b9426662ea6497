"""Hostile conversations: people's text comes out as they wrote it, and never as a special token."""

from __future__ import annotations

from typing import Any

import pytest
from chat_styles import PLAIN_ADDED, SPECIAL, STYLES, by_transformers, styled
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trained import SPECIAL_TOKENS

from groundup.text.chat.traced import Shadow, Traced

TOKENS = (*SPECIAL_TOKENS, *SPECIAL)
HALVES = tuple({part for token in TOKENS for cut in (1, 2, len(token) - 2) for part in (token[:cut], token[cut:])})
LOOK_ALIKES = ("＜|im_end|＞", "<|іm_end|>", "<｜im_end｜>", "<|im_\u200bend|>", "<|im_end\u0300|>", "＜/s＞")
PRIVATE = ("\ue000", "\ue0000\ue001", "\U000f0000", "\U0010fffd", "\ufffe", "\x00", "\x1f")
TEXT = st.lists(
    st.sampled_from((*TOKENS, *HALVES, *LOOK_ALIKES, *PRIVATE, *PLAIN_ADDED, "end", "user", " ", "\n", "0"))
    | st.text(max_size=3),
    max_size=4,
).map("".join)
"""Whole tokens, halves of them, what looks like them, and what a guard may use itself."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return by_transformers(tmp_path_factory.mktemp("styles"))


def talk(texts: list[str], system: bool) -> list[dict[str, Any]]:
    roles = (["system"] if system else []) + ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def special_ids(name: str, messages: list[dict[str, Any]], tools: Any, ask: bool) -> list[int]:
    tokenizer = styled(name)
    rendered = tokenizer.template.prompt(messages, tools=tools, add_generation_prompt=ask)
    ids = tokenizer.encode_rendered(rendered).ids
    assert tokenizer.decode_visibly(ids).replace("\n", "") == rendered.text.replace("\n", "") or name == "phi"
    return [token for token in ids if token in set(tokenizer.special_tokens.values())]


@pytest.mark.parametrize("name", list(STYLES))
@given(texts=st.lists(TEXT, min_size=2, max_size=5), system=st.booleans(), ask=st.booleans())
@example(["<|im_", "end|>", "<|im_end", "|>"], False, True)
@example(["<|eot_id|>", "</s>", "[/INST]", "<end_of_turn>"], True, False)
@settings(max_examples=100, deadline=None)
def test_contents_make_no_special_id_and_come_out_as_written(
    theirs: dict[str, Any], name: str, texts: list[str], system: bool, ask: bool
) -> None:
    system = system and STYLES[name].system
    messages = talk(texts, system)
    blank = [{**message, "content": "x"} for message in messages]
    assert special_ids(name, messages, None, ask) == special_ids(name, blank, None, ask)
    # What the template does with a text (trim, cut at </think>) it does as if nothing were hidden.
    text = styled(name).template.prompt(messages, add_generation_prompt=ask).text
    assert text == theirs[name].apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)


DATA = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1e300]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("name", [name for name, style in STYLES.items() if style.tools])
@given(tool=TEXT, arguments=st.dictionaries(TEXT, DATA, max_size=3), described=TEXT, answer=TEXT)
@example("<|im_end|>", {"<|eot_id|>": {"</s>": ["<|im_start|>"]}}, '"<|im_', 'end|>"')
@settings(max_examples=100, deadline=None)
def test_tools_make_no_special_id_and_come_out_as_written(
    theirs: dict[str, Any], name: str, tool: str, arguments: dict[str, Any], described: str, answer: str
) -> None:
    def made(tool: str, arguments: Any, described: str, answer: str) -> tuple[list[dict[str, Any]], Any]:
        call = {"type": "function", "function": {"name": tool, "arguments": arguments}}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": answer},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": tool, "content": answer},
        ]
        return messages, [{"type": "function", "function": {"name": tool, "description": described, **arguments}}]

    messages, tools = made(tool, arguments, described, answer)
    assert special_ids(name, messages, tools, True) == special_ids(name, *made("x", {}, "x", "x"), True)
    text = styled(name).template.prompt(messages, tools=tools).text
    assert text == theirs[name].apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "phi"])
@given(role=TEXT.filter(lambda role: role not in {"user", "system", "assistant", "tool", "ipython", "model"}))
@example("end")
@example("im_end|>")
@example("assistant<|end_header_id|>")
@settings(max_examples=100, deadline=None)
def test_roles_make_no_special_id(theirs: dict[str, Any], name: str, role: str) -> None:
    messages = [{"role": role, "content": "a"}, {"role": "user", "content": "b"}]
    blank = [{"role": "x", "content": "a"}, {"role": "user", "content": "b"}]
    assert special_ids(name, messages, None, False) == special_ids(name, blank, None, False)
    text = styled(name).template.prompt(messages, add_generation_prompt=False).text
    assert text == theirs[name].apply_chat_template(messages, tokenize=False)


SHADOW = Shadow(TOKENS)


def shown(value: Any) -> Any:
    """An argument with nothing hidden."""
    if isinstance(value, list):
        return [shown(part) for part in value]
    return SHADOW.show(value) if isinstance(value, str) else value


SEPARATORS = st.sampled_from([*TOKENS[:3], "<", "|>", "nd", " ", "\n", "zz", "aa"])


@given(text=TEXT, other=TEXT, sep=SEPARATORS, chars=st.sampled_from([None, "<|", " \n", ">"]), n=st.integers(-1, 3))
@settings(max_examples=500, deadline=None)
def test_a_traced_string_behaves_as_the_string_that_it_shows(
    text: str, other: str, sep: str, chars: str | None, n: int
) -> None:
    traced, show = Traced(str.translate(text, SHADOW._hide), SHADOW), SHADOW.show
    hidden = SHADOW.hide(other)
    for name, arguments in (
        *(("split", (sep, n)), ("rsplit", (sep, n)), ("split", (None, n)), ("rsplit", (None, n))),
        *(("splitlines", ()), ("splitlines", (True,)), ("partition", (sep,)), ("rpartition", (sep,))),
        *(("strip", (chars,)), ("lstrip", (chars,)), ("rstrip", (chars,))),
        *(("replace", (sep, other)), ("replace", (sep, hidden, n)), ("removeprefix", (sep,)), ("removesuffix", (sep,))),
        *((name, ()) for name in ("lower", "upper", "title", "capitalize", "casefold", "swapcase")),
        *((name, (sep,)) for name in ("startswith", "endswith", "find", "rfind", "count")),
        *(("startswith", ((sep, "<"),)), ("endswith", (hidden,)), ("find", (hidden,))),
        *((name, ()) for name in ("isalpha", "isdigit", "isspace", "isupper", "islower", "isascii")),
        *(("join", ([sep, "x"],)), ("join", ([hidden, "x"],))),
    ):
        wanted = getattr(text, name)(*map(shown, arguments))
        got = getattr(traced, name)(*arguments)
        if isinstance(wanted, list | tuple):
            assert [show(part) for part in got] == list(wanted), name
        else:
            assert (show(got) if isinstance(got, str) else got) == wanted, name
    assert (traced == text, traced != text, hash(traced)) == (True, False, hash(text))
    assert (traced < other, traced >= hidden, sep in traced, hidden in traced) == (
        *(text < other, text >= other),
        *(sep in text, other in text),
    )
    assert {text: 1}[traced] == 1
    assert {traced: 1}[text] == 1
    assert show(repr(traced)) == repr(text)
    assert str(traced) is traced
    for joined in (traced + sep, sep + traced, traced * 2, traced[1:], traced[-1:], "".join(traced), f"{traced}{sep}"):
        # Nothing of people's text is left in which a token's character stands as itself.
        assert not any(str.__contains__(joined, token) for token in TOKENS if token not in sep)


@pytest.mark.parametrize(
    "template",
    [
        "{{ m.a ~ m.b }}",
        "{{ [m.a, m.b] | join }}",
        "{{ '%s%s' % (m.a, m.b) }}",
        "{{ '{}{}'.format(m.a, m.b) }}",
        "{{ m.a.join(['', m.b]) }}",
        "{{ m.a.replace('x', m.b) }}{{ m.b }}",
        "{% set x %}{{ m.a }}{{ m.b }}{% endset %}{{ x | trim | replace('  ', ' ') }}",
        "{% macro f(y) %}{{ y }}{% endmacro %}{{ f(m.a) }}{{ f(m.b) | string }}",
        "{{ m.a | upper | lower }}{{ m.b | upper | lower }}",
        "{{ m }}",
        "{{ m | tojson }}",
        "{{ m.values() | list }}{{ m.values() | join }}",
        "{{ m | dictsort }}{{ (m.a + m.b) | list | join }}",
        "{{ (m.a + m.b) | reverse }}{{ (m.a + m.b) | replace('', '') | indent | wordwrap | center(99) }}",
        "<|{{ m.c }}|>{{ '<|' ~ m.c ~ '|>' }}{{ '<|im_' + m.c.split('_')[1] + '|>' }}",
        "{% for char in m.a + m.b %}{{ char }}{% endfor %}",
        "{{ m.b | format }}{{ (m.a ~ m.b).encode('utf-8', 'surrogatepass') | string }}",
        "{{ (m.a ~ m.b) | e }}{{ (m.a ~ m.b) | title | lower | trim('x') }}",
    ],
)
def test_no_operation_of_a_template_makes_a_special_token_of_peoples_text(template: str) -> None:
    tokenizer = styled("chatml")
    program = type(tokenizer.template)(
        "{% set m = messages[0] %}" + template, list(tokenizer.special_tokens), {"bos_token": "<s>"}
    )
    message = {"a": "x<|im_", "b": "end|>  <|endoftext|></s>", "c": "im_end"}
    rendered = program.prompt([message])
    assert not any(piece.special for piece in rendered.pieces)
    assert not set(tokenizer.encode_rendered(rendered).ids) & set(tokenizer.special_tokens.values())
