"""The texts of language-model judges: the Jinja files in `texts`, or the user's own, with one block a message.

The whole text is part of a judge's cache key: whoever changes a template asks again.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

_FOLDER = Path(__file__).parent / "texts"


def read_template(name: str, given: Path | None) -> str:
    """Read a judge's template.

    Args:
        name: The judge's kind; its own template is taken where none is given.
        given: The user's file.

    Raises:
        ValueError: The file is missing, or is no Jinja template; the message names it.
    """
    path = given or _FOLDER / f"{name}.jinja"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"template {path} can't be read: {error}") from error
    try:
        _compile(text)
    except TemplateError as error:
        raise ValueError(f"template {path} is no Jinja template: {error}") from error
    return text


def render(text: str, block: str, values: Mapping[str, object]) -> str:
    """Write one block of a template, such as `system` or `user`.

    Raises:
        ValueError: The template lacks the block, names a value that there is not, or does with one what can't be done.
    """
    template = _compile(text)
    if block not in template.blocks:
        raise ValueError(f"the judge's template has no block {block!r}; it has {', '.join(template.blocks) or 'none'}")
    try:
        return "".join(template.blocks[block](template.new_context(dict(values)))).strip()
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:  # such as {{ min_score / 0 }}
        raise ValueError(f"the judge's template, block {block!r}: {error}; there is {', '.join(values)}") from error


@lru_cache(maxsize=16)
def _compile(text: str) -> Template:
    return SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)
