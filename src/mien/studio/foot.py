"""The foot of the page, with what everybody should know before changing a face: shown once, then there by a button."""

from __future__ import annotations

from importlib import resources

import gradio as gr
from markdown_it import MarkdownIt

FILES = resources.files("mien") / "studio"
FOOT = """
<p>Edit pictures of yourself, or of people who agreed. Every picture says in its metadata that it was edited.
They stay on the machine that runs this page.</p>
<p><button id="consent-again" type="button">Consent, law and misuse</button>
<a href="?view=api">For programs</a></p>
<dialog aria-label="Consent, law and misuse">
<article tabindex="0">{}</article>
<form method="dialog"><button class="lg primary" autofocus>I understand</button></form>
</dialog>"""


def foot() -> gr.HTML:
    """Lay it out."""
    text = MarkdownIt().render((FILES / "consent.md").read_text("utf-8"))
    script = (FILES / "consent.js").read_text("utf-8")
    return gr.HTML(FOOT.format(text), js_on_load=script, elem_id="foot", apply_default_css=False)
