"""Prefect's own page in a real browser: what a person presses there does what it says."""

import pytest

from tests.browser import open_browser

TINY = ["--set=prompts.per_round=8", "--set=evaluation.max_prompts=4", "--set=generation.sampling.max_new_tokens=16"]
STATE = "document.querySelector('.state-badge').innerText"


@pytest.mark.slow
def test_retry_on_the_page_of_a_failed_run_completes_it(serve, small, prefect_api, tmp_path):
    served = serve("page", tmp_path / "workspace", *TINY)
    small.break_judges()
    run = prefect_api.start(served.deployment)
    prefect_api.wait(run, "Failed")
    served.wait_for_exit()
    small.mend_judges()
    address = f"{prefect_api.url.removesuffix('/api')}/runs/flow-run/{run}"
    with open_browser() as page:
        page.open(address)
        page.wait_for_text("the judges are broken")
        assert page.evaluate(STATE) == "Failed"
        page.press("Retry")
        page.wait_for_text("This will retry flow run")
        page.press("Retry", ".p-modal button")
        prefect_api.wait(run, "Running")
        page.open("about:blank")  # the timeline of a run at work keeps a processor core busy
        prefect_api.wait(run, "Completed")
        page.open(address)
        page.wait_for_text("Finished in state Completed()")
        assert page.evaluate(STATE) == "Completed"
    assert prefect_api.call(f"flow_runs/{run}")["run_count"] == 2
