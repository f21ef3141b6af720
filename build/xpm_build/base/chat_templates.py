"""Chat templates for bases that have none, in Jinja as Transformers and the runtime read it (in a sandbox)."""

CHAT_TEMPLATE = "chat_template.jinja"

_CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' -}}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
TEMPLATES = {
    "chatml": _CHATML,
    "qwen3": _CHATML.removesuffix("{%- endif -%}") + "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}",
    "alpaca": (
        "{%- for m in messages -%}{%- if m['role'] == 'assistant' -%}{{- m['content'] + '\\n\\n' -}}{%- else -%}"
        "{{- '### Instruction:\\n' + m['content'] + '\\n\\n### Response:\\n' -}}{%- endif -%}{%- endfor -%}"
    ),
    "llama": (
        "{%- for m in messages -%}"
        "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>' -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}"
        "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}"
    ),
    "gemma": (
        "{%- for m in messages -%}{{- '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) "
        "+ '\\n' + m['content'] + '<end_of_turn>\\n' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}"
    ),
}
