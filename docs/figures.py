"""Takes the pictures in docs/figures from a quickstart: python docs/figures.py workspace/runs/quickstart/report.html

Needs playwright and a Chromium on the PATH, which nothing else does.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FIGURES = Path(__file__).parent / "figures"
SECTIONS = {
    "source": "pages", "curate": "corpus", "tokenizer": "tokenizer", "tokens": "tokens", "pretrain": "base",
    "sft": "chat", "dpo": "aligned", "evaluate": "scores", "bundle": "bundle",
}  # fmt: skip
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH, HEIGHT = 1100, 900


def main(report: Path) -> None:
    FIGURES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        page.screenshot(path=FIGURES / "report.png", clip={"x": 0, "y": 0, "width": WIDTH, "height": 760})
        for stage, artifact in SECTIONS.items():
            section = page.locator(f"#a-{artifact}")
            box, heading = section.bounding_box(), section.locator("h3").first.bounding_box()
            assert box is not None and heading is not None, artifact
            top = heading["y"] - 12
            height = min(box["y"] + box["height"] - top, HEIGHT)
            clip = {"x": box["x"], "y": top, "width": box["width"], "height": height}
            page.screenshot(path=FIGURES / f"{stage}.png", clip=clip, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
