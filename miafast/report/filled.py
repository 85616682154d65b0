"""A page: a template of this folder filled in, within the frame that all pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any


def filled(
    template: str, values: Mapping[str, Any], *, filters: Mapping[str, Callable[..., str]] | None = None
) -> str:  # fmt: skip
    """The page as text: no script, no request beyond it. All values are escaped but those marked safe (`Markup`).

    Raises ModuleNotFoundError without Jinja2, and its UndefinedError for a value that is missing.
    """
    import jinja2
    from markupsafe import Markup

    home = resources.files("miafast.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (home / name).read_text(encoding="utf-8")), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters.update(filters or {})
    css = Markup((home / "report.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(values, css=css)
