"""Compares `neuroquant tokenize --chat` with jinja2 in the environment that transformers renders chat templates in.

    check_chat.py BINARY [FOLDER]

Checked are templates written here, which use what published ones use, and those in FOLDER (*.jinja), each on many
conversations. Where the library ends with an error, an error is expected.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import jinja2.ext
import jinja2.sandbox

from table import Table

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

# In the manner of ChatML, Llama, Mistral, Gemma, Qwen and Phi.
TEMPLATES = {
    "ChatML": """{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "alternating roles": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}
{% for m in loop_messages %}
    {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate') }}
    {% endif %}
    {% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set content = m['content'] %}{% endif %}
    {% if m['role'] == 'user' %}{{ '[INST] ' + content.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{% endfor %}""",
    "tools": """{%- if not date is defined %}{%- set date = '26 Jul 2024' %}{%- endif %}
{%- if messages and messages[0].role == 'system' %}{%- set system = messages[0].content|trim %}{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}
{{- bos_token + system + date }}
{%- if tools is not none and tools %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- '\\n\\n' }}{{ t.function.parameters.properties.items()|list|length }}{{ t|tojson }}
    {%- endfor %}
{%- endif %}
{%- for m in messages %}
    {%- if m.tool_calls is defined and m.tool_calls %}
        {%- for c in m.tool_calls %}
            {%- set f = c.function if c.function else c %}
            {{- '<tool_call>\\n{"name": "' ~ f.name ~ '", "arguments": ' }}
            {%- if f.arguments is string %}{{ f.arguments }}{% else %}{{ f.arguments | tojson }}{% endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
    {%- elif m.role == 'tool' or m.role == 'ipython' %}
        {{- '<response>' }}{{ m.content | tojson if m.content is mapping or m.content is iterable and m.content is not string else m.content }}
    {%- else %}
        {{- '<' + m['role'] + '>' }}{{ m['content'] | trim }}{{ eos_token }}
    {%- endif %}
{%- endfor %}""",
    "thinking": """{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and m.role == 'user' and m.content is string and not (m.content.startswith('<r>') and m.content.endswith('</r>')) %}
        {%- set ns.multi_step = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- set reasoning = '' %}
    {%- if m.reasoning_content is string %}{%- set reasoning = m.reasoning_content %}
    {%- elif '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if loop.index0 > ns.last and (loop.last or reasoning) %}{{- '<think>' + reasoning.strip('\\n') + '</think>' }}{%- endif %}
    {{- loop.previtem.role if loop.previtem is defined else 'first' }}:{{ content }};
{%- endfor %}
{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}""",
    "parts and macros": """{%- macro show(content, sep=', ') -%}
    {%- if content is string -%}{{ content | trim }}
    {%- elif content is iterable -%}
        {%- for item in content -%}{%- if item['type'] == 'text' -%}{{ item.text }}{{ sep if not loop.last }}{%- else -%}{{ '<' ~ item.type ~ '>' }}{%- endif -%}{%- endfor -%}
    {%- else -%}{{ content }}{%- endif -%}
{%- endmacro -%}
{%- set roles = messages | map(attribute='role') | unique | join('|') -%}
{{ roles }}/{{ messages | selectattr('role', 'equalto', 'user') | list | length }}/{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='content') | list }}
{% for m in messages if m.role != 'system' %}
{%- generation %}{{ show(m.content) }}{{ show(m.content, sep='+') | upper }}{% endgeneration %}
    {%- if loop.index == 3 %}{% break %}{% endif %}
{% endfor %}""",
}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def conversations():
    tool = {"type": "function", "function": {"name": "weather", "description": 'in a "city" <b>&\'é', "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}}, "required": ["city"]}}}
    call = say("assistant", "", tool_calls=[{"id": "c12345678", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris", "x": [1.5, None, True]}}}])
    result = say("tool", "22 °C", name="weather", tool_call_id="c12345678")
    user = say("user", "Hello")
    lists = [
        [user], [say("system", "Be brief."), say("user", " Hi \n")], [user, say("assistant", "b"), user], [user, user], [say("assistant", "x")],
        [say("system", "s"), user, say("assistant", " b "), user, say("assistant", "d")], [user, call, result], [say("system", "s"), user, call, result, say("assistant", "22."), user],
        [user, say("assistant", "<think>\nhm\n</think>\n\nanswer"), user], [user, say("assistant", "ans", reasoning_content="why")],
        [say("user", [{"type": "text", "text": "part"}, {"type": "image"}, {"type": "text", "text": "two"}])], [], [say("user", "")], [say("user", None)], [say("developer", "d"), user],
    ]
    for messages in lists:
        for prompt in (False, True):
            for more in ({}, {"tools": [tool]}, {"enable_thinking": False}):
                yield {"messages": messages, "add_generation_prompt": prompt, **more}


class Generation(jinja2.ext.Extension):
    """The statement generation, which marks text and leaves it as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def check(table, binary, name, source, requests):
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "chat_template.jinja").write_text(source)
        pathlib.Path(folder, "tokenizer_config.json").write_text(json.dumps(TOKENS))
        done = subprocess.run([binary, "tokenize", folder, "--chat", "--batch", "--json", "--quiet"], input=json.dumps(requests), capture_output=True, text=True)
    if done.returncode:
        table.error(name, "open", (done.stderr or done.stdout).strip()[-300:])
        return
    template = environment().from_string(source)
    different = texts = 0
    for request, got in zip(requests, json.loads(done.stdout)):
        try:
            want = template.render(tools=request.get("tools"), documents=None, **TOKENS, **{k: v for k, v in request.items() if k != "tools"})
            texts += 1
        except Exception:  # whatever it is, the text cannot be made
            want = None
        if want != (None if "error" in got else got["text"]):
            if not different:
                print(f"    {name}: {ascii(request)[:200]}\n    ours {ascii(got)[:400]}\n    want {ascii(want)[:400]}")
            different += 1
    table.at_most(name, f"of {len(requests)} conversations, {texts} with a text, differ", different, 0)


def main():
    table = Table()
    requests = list(conversations())
    for name, source in TEMPLATES.items():
        check(table, sys.argv[1], name, source, requests)
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*.jinja")) if len(sys.argv) > 2 else []:
        check(table, sys.argv[1], path.stem, path.read_text(), requests)
    table.finish()


if __name__ == "__main__":
    main()
