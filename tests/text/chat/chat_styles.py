"""Chat templates written in the styles that open models publish, and a small tokenizer that has their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tiny import tiny_tokenizer
from transformers import AutoTokenizer

from groundup.text.chat.template import CHAT_TEMPLATE
from groundup.text.tokenizer import Roles, Tokenizer

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = "26 Jul 2024" %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim }}
        {{- '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}{{- raise_exception("one call at a time") }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user and assistant') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- else %}
        {%- generation %}{{- ' ' + message['content'] + eos_token }}{%- endgeneration %}
    {%- endif %}
{%- endfor %}
"""

QWEN = """{%- macro shown(content) %}
    {%- if content is string %}{{- content }}{%- else %}
        {%- for item in content %}{{- item.text }}{%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" ~ (tool | tojson) }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- set content = shown(message.content or '') | trim %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {{- '<think>\\n' ~ thought ~ '\\n</think>\\n\\n' }}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- content }}
        {%- for call in message.tool_calls or [] %}
            {%- set call = call.function if call.function else call %}
            {{- ('\\n' if content or not loop.first else '') + '<tool_call>\\n{"name": "' }}
            {{- call.name }}
            {{- '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
        {%- endgeneration %}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}{% set role = 'model' %}{%- else -%}
    {% set role = message['role'] %}{%- endif -%}
    {{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""

PHI = """{% for message in messages %}
{%- if loop.index0 >= 40 %}{% break %}{% endif -%}
{{ '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' + '\\n' }}{% endif %}
"""

SPECIAL = (
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    *("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
    *("<|tool_call|>", "<|tool_call_end|>", "<|tool_result|>", "<|tool_result_end|>"),
)
PLAIN_ADDED = ("<tool_call>", "</tool_call>", "<think>", "</think>")


@dataclass(frozen=True)
class Style:
    """A template, the tokens that its model names first and last, and what it can say."""

    template: str
    start: str
    end: str
    system: bool = True
    tools: bool = False
    generation: bool = False


STYLES = {
    "chatml": Style(CHAT_TEMPLATE, "<|endoftext|>", "<|im_end|>", tools=True),
    "llama3": Style(LLAMA3, "<|begin_of_text|>", "<|eot_id|>", tools=True),
    "mistral": Style(MISTRAL, "<s>", "</s>", generation=True),
    "qwen": Style(QWEN, "<|endoftext|>", "<|im_end|>", tools=True, generation=True),
    "gemma": Style(GEMMA, "<bos>", "<end_of_turn>", system=False),
    "phi": Style(PHI, "<s>", "<|end|>"),
}


@cache
def styled(name: str) -> Tokenizer:
    """The tokenizer of a style; all have the same tokens, of which Phi's turns swallow the white space after them."""
    described = tiny_tokenizer().describe()
    first = max(described["model"]["vocab"].values()) + 1
    for place, token in enumerate((*SPECIAL, *PLAIN_ADDED)):
        described["added_tokens"].append(
            {
                "id": first + place,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": token in ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
                "normalized": False,
                "special": token in SPECIAL,
            }
        )
    style = STYLES[name]
    return Tokenizer.parse(described, style.template, Roles(style.start, "<|endoftext|>", style.end, "<|pad|>"))


TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a “city” <now> & later",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
                "required": ["city"],
            },
        },
    }
]


def conversation(style: Style, tools: bool = False) -> list[dict[str, Any]]:
    """A conversation of several turns that a style can say."""
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Tell me a story.\n"},
        {"role": "assistant", "content": "Once upon a time, there was a cat.\n\nIt slept."},
        {"role": "user", "content": "  And  then? 猫😀 naïve «<tag>» "},
        {"role": "assistant", "content": "The end!"},
    ]
    if tools:
        arguments = {"city": "Zürich", "days": 2, "deep": {"a": [1, 2.5, None, True]}}
        call = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        turns += [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": "get_weather", "content": '{"sun": "yes"}'},
            {"role": "assistant", "content": "Sunny."},
        ]
    return [{"role": "system", "content": "You are kind."}, *turns] if style.system else turns


def by_transformers(folder: Path) -> dict[str, Any]:
    """The tokenizer of each style as transformers loads it from what is saved in ``folder``."""
    loaded = {}
    for name in STYLES:
        styled(name).save(folder / name, 4096)
        loaded[name] = AutoTokenizer.from_pretrained(folder / name)
    return loaded
