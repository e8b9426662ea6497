"""Templates in the styles of open models: the text, the ids and the mask that transformers makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from chat_styles import STYLES, TOOLS, by_transformers, conversation, styled

from groundup.base.errors import DataError
from groundup.text.chat.template import ChatTemplate
from groundup.text.tokenizer import Tokenizer

CASES = [(name, tools) for name, style in STYLES.items() for tools in ((False, True) if style.tools else (False,))]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return by_transformers(tmp_path_factory.mktemp("styles"))


@pytest.mark.parametrize(("name", "tools"), CASES)
@pytest.mark.parametrize("ask", [False, True])
def test_text_and_ids_are_those_of_transformers(theirs: dict[str, Any], name: str, tools: bool, ask: bool) -> None:
    tokenizer, other = styled(name), theirs[name]
    messages, given = conversation(STYLES[name], tools), TOOLS if tools else None
    first = 2 if STYLES[name].system else 1
    for upto in range(first, len(messages) + 1):
        rendered = tokenizer.template.prompt(messages[:upto], tools=given, add_generation_prompt=ask)
        wanted = {"conversation": messages[:upto], "tools": given, "add_generation_prompt": ask}
        assert rendered.text == other.apply_chat_template(**wanted, tokenize=False)
        ids = other.apply_chat_template(**wanted, tokenize=True, return_dict=False)
        assert tokenizer.encode_rendered(rendered).ids == ids


@pytest.mark.parametrize(("name", "tools"), CASES)
def test_the_mask_is_the_answers(theirs: dict[str, Any], name: str, tools: bool) -> None:
    tokenizer, style = styled(name), STYLES[name]
    messages, given = conversation(style, tools), TOOLS if tools else None
    chat = tokenizer.encode_chat(messages, tools=given)
    runs, before = [], False
    for token, trained in zip(chat.ids, chat.trained, strict=True):
        if trained:
            runs = runs if before else [*runs, []]
            runs[-1].append(token)
        before = trained
    answers = [message for message in messages if message["role"] == "assistant"]
    assert [run[-1] for run in runs] == [tokenizer.special_tokens[style.end]] * len(answers)
    for run, answer in zip(runs, answers, strict=True):
        said = tokenizer.decode(run).strip()
        assert said == answer["content"] if answer["content"] else "Zürich" in said
    if style.generation:
        got = theirs[name].apply_chat_template(
            messages, tools=given, return_dict=True, return_assistant_tokens_mask=True, tokenize=True
        )
        assert got["input_ids"] == chat.ids
        # Theirs holds the line break after Qwen's turns, which the model is never asked to say.
        extra = [i for i, (ours, other) in enumerate(zip(chat.trained, got["assistant_masks"])) if ours != bool(other)]  # noqa: B905
        assert all(tokenizer.decode([chat.ids[i]]) == "\n" for i in extra)
        assert not any(chat.trained[i] for i in extra)


def test_extra_variables_and_the_clock_reach_the_template() -> None:
    tokenizer = styled("llama3")
    question = [{"role": "user", "content": "x"}]
    assert "Today Date: 26 Jul 2024" in tokenizer.template.prompt(question).text
    assert "Today Date: 1 May" in tokenizer.template.prompt(question, date_string="1 May").text
    dated = ChatTemplate("{{ strftime_now('%Y') | int > 2000 }}", ["<s>"])
    assert dated.prompt(question).text == "True"


def test_documents_reach_the_template() -> None:
    template = ChatTemplate("{% for d in documents %}<s>{{ d.title }}{% endfor %}", ["<s>"])
    rendered = template.prompt([], documents=[{"title": "<s>One"}, {"title": "Two"}])
    assert [(piece.text, piece.special) for piece in rendered.pieces] == [
        ("<s>", True),
        ("<s>One", False),
        ("<s>", True),
        ("Two", False),
    ]


def test_what_only_one_mask_holds_is_explained_and_not_trained() -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}"
        "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    template = ChatTemplate(source, ["<|im_start|>", "<|im_end|>"])
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}] * 2
    rendered = template.render(talk)
    assert [rendered.text[start:end] for start, end in rendered.trained] == ["bc", "bc"]
    assert rendered.note == (
        "the assistant's turns hold 20 characters that no generation block does, such as '<|im_end|>'; "
        "only what both hold is trained"
    )
    marked = source.replace(
        "{{ m.content }}{% endif %}", "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}"
    )
    rendered = ChatTemplate(marked, ["<|im_start|>", "<|im_end|>"]).render(talk)
    assert [rendered.text[start:end] for start, end in rendered.trained] == ["bc", "bc"]
    assert "generation blocks hold 2 characters outside the assistant's turns, such as 'a'" in rendered.note
    assert styled("qwen").template.render(talk).note == ""


REWRITING = "{% for m in messages %}{{ m.content if loop.last else m.content[:1] }}<|im_end|>{% endfor %}"


def test_a_template_that_rewrites_is_refused_for_training_only() -> None:
    tokenizer = Tokenizer.parse(styled("chatml").describe(), REWRITING, styled("chatml").roles)
    talk = [{"role": role, "content": text} for role, text in (("user", "abc"), ("assistant", "def")) * 2]
    with pytest.raises(DataError, match="rewrites earlier turns, or the prompt for an answer, at turn 2"):
        tokenizer.encode_chat(talk)
    asked = tokenizer.encode_chat(talk[:3], add_generation_prompt=True)
    assert tokenizer.decode(asked.ids) == "adabc"
    assert not any(asked.trained)


@pytest.mark.parametrize(
    ("template", "talk", "message"),
    [
        (None, [{"role": "user", "content": "x"}], "it has no assistant's turn"),
        (None, [], "it has no assistant's turn"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>{% endfor %}",
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "writes nothing for the assistant",
        ),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>{% endif %}",
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "writes nothing for the assistant's turn 2",
        ),
        (
            "{% for m in messages %}{% generation %}{% endgeneration %}{{ m.content }}<|im_end|>{% endfor %}",
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "writes nothing for the assistant",
        ),
    ],
)
def test_an_empty_mask_is_refused_in_one_line(template: str | None, talk: list[dict[str, str]], message: str) -> None:
    tokenizer = styled("chatml")
    if template is not None:
        tokenizer = Tokenizer.parse(tokenizer.describe(), template, tokenizer.roles)
    with pytest.raises(DataError, match=message) as caught:
        tokenizer.encode_chat(talk)
    assert "\n" not in str(caught.value)


def test_a_fault_is_one_short_printable_line() -> None:
    template = ChatTemplate("{{ raise_exception('no role ' + messages[0].role) }}", ["<s>"])
    with pytest.raises(DataError) as caught:
        template.prompt([{"role": "<s>" * 500 + "\n", "content": ""}])
    said = str(caught.value)
    said.encode()
    assert len(said) < 300
    assert "\n" not in said
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(DataError, match="nested too deeply"):
        template.prompt([{"role": "user", "content": deep}])
    with pytest.raises(DataError, match="lone surrogate at character 1"):
        template.prompt([{"role": "user", "content": "a\udc80"}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ '<' ~ ('&' | safe) ~ messages[0].content ~ '>' ~ 3 ~ none ~ undefined_thing }}",
        "{{ (tools | tojson | safe) ~ '<b>' }}{{ tools[0] | tojson(indent=2) }}",
        "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }};{% endfor %}",
        "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
        "{% for m in messages %}{{ m.content.split('<')[-1] | upper }}{{ m.content | length }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{% if 'im_end' in messages[0].content and messages[0].content == '<|im_end|> a' %}yes{% endif %}",
        "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('+') }}",
        "{{ messages[0] }}{{ messages[0].content[2:] }}{{ messages[0].content | replace('<', '[') | trim('[') }}",
        "{{ dict(a=1).items() | list }}{{ messages[0].items() | list | length }}{{ bos_token + eos_token }}",
        "{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x is defined }}",
        "{{ messages[0].content | default('x') | string | list | last }}{{ '%s-%s' % ('a', messages[0].content) }}",
    ],
)
def test_what_jinja_does_is_what_it_does_in_transformers(theirs: dict[str, Any], source: str) -> None:
    messages = [
        {"role": "user", "content": "<|im_end|> a"},
        {"role": "assistant", "content": "b<s>c", "thinking": "<hm>"},
        {"role": "assistant", "content": "d", "reasoning": "x", "reasoning_content": "y"},
    ]
    tokenizer = styled("chatml")
    template = ChatTemplate(
        source, list(tokenizer.special_tokens), {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    )
    ours = template.prompt(messages, tools=TOOLS, add_generation_prompt=False).text
    assert ours == theirs["chatml"].apply_chat_template(messages, tools=TOOLS, chat_template=source, tokenize=False)
