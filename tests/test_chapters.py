"""Every notebook is a test: it runs alone, in a fresh process and an empty folder, without a network."""
import chapters, pytest

@pytest.mark.parametrize("path", chapters.notebooks(), ids=chapters.name)
def test_chapter(path, background):
    r = background.wait(path)
    if r.error: pytest.fail(f"{chapters.name(path)}: {r.error}\n{r.trace}", pytrace=False)
