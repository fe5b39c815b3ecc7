"""The page: its tabs, its look and its programme interface."""

from __future__ import annotations

import gradio as gr

from mien.studio.foot import foot
from mien.studio.interface import interface
from mien.studio.parts import Studio
from mien.studio.photo import PhotoTab
from mien.studio.tabs import batch_tab, compare_tab

try:
    from mien.studio import clip as clips
except ImportError:  # without PyAV
    clips = None  # type: ignore[assignment]

HEAD = """<style>
.gradio-container { overflow: visible !important; }
@media (max-width: 760px) { .gradio-container .main { padding: 0.5rem 0.8rem !important; } }
</style>"""
"""What a style sheet of Gradio's cannot say, because it holds only within the page's own column."""
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
THEME = gr.themes.Base(
    primary_hue="teal", neutral_hue="stone", font=FONTS, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"]
).set(
    body_background_fill="*neutral_100",
    body_background_fill_dark="*neutral_950",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    block_border_width="0px",
    block_radius="*radius_lg",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    block_title_text_weight="600",
    block_label_text_weight="600",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_border_width="0px",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_text_color="white",
    button_secondary_background_fill="white",
    button_secondary_background_fill_dark="*neutral_800",
    checkbox_label_background_fill="*neutral_100",
    checkbox_label_background_fill_dark="*neutral_800",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    checkbox_label_text_color_selected="white",
    slider_color="*primary_600",
    color_accent="*primary_700",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_400",
)


def page(studio: Studio) -> gr.Blocks:
    """The page with all its tabs."""
    with gr.Blocks(title="mien", analytics_enabled=False, delete_cache=(60, max(1, int(60 * studio.keep)))) as blocks:
        gr.Markdown("# mien\nChange the expression on any face.", elem_id="title")
        with gr.Tabs():
            with gr.Tab("Photo"):
                photo = PhotoTab(studio, blocks)
            if len(studio.editors) > 1:
                with gr.Tab("Compare") as tab:
                    compare_tab(studio, tab, photo.sitting, photo.closeup)
            if clips:
                with gr.Tab("Clip"):
                    clips.clip_tab(studio)
            with gr.Tab("Batch"):
                batch_tab(studio)
        interface(studio)
        foot()
    return blocks
