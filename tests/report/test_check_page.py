"""The check that tests of pages use finds each fault that it is there for."""

import pytest

from tests.support.browser import check_page

GOOD = '<p style="color: #000; background: #fff">Text</p><svg width="50" height="50"><text y="20">a</text></svg>'
FAULTS = {
    "console": "<script>console.log('x')</script>",
    "requests": '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">',
    "pictures": '<img src="data:image/png;base64,AAAA">',
    "sideways": '<div style="width: 500px">x</div>',
    "text of": '<svg width="50" height="50"><text style="font-size: 4px" y="20">a</text></svg>',
    "contrast": '<p style="color: #999; background: #fff">pale</p>',
}


def test_a_sound_page_passes(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><body style="background: #fff">{GOOD}')
    check_page(browser, page)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(browser, tmp_path, fault):
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><body style="background: #fff">{GOOD}{FAULTS[fault]}')
    with pytest.raises(AssertionError, match=f"console|{fault}" if fault in ("requests", "pictures") else fault):
        check_page(browser, page)
