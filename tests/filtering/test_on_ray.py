import subprocess
import sys

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from filtering.filtering import filter_parts
from filtering.filters.near_duplicates import NearDuplicatesConfig
from filtering.near import linking
from filtering.on_ray import ray_mapper
from filtering.parts import list_parts
from filtering.workers import IN_PROCESS
from tests.filtering.near_pairs import make_pairs

CONFIG = NearDuplicatesConfig(name="near_duplicates")


def double(number):
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return 2 * number


def ray_processes():
    return [one for one in psutil.Process().children(recursive=True) if "ray" in " ".join(one.cmdline())]


@pytest.fixture(scope="module")
def mapper(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))  # Ray writes the token of its cluster there
        with ray_mapper(count=2) as found:
            yield found
        assert ray_processes() == []


@pytest.mark.slow
def test_results_come_in_order_and_few_items_are_taken_ahead(mapper):
    taken = list[int]()

    def items():
        for item in range(12):
            taken.append(item)
            yield item

    results = mapper.map(double, items())
    assert next(results) == 0
    assert len(taken) == 4  # two a core
    assert list(results) == [2 * item for item in range(1, 12)]


@pytest.mark.slow
def test_error_of_a_task_is_raised_as_what_it_is(mapper):
    with pytest.raises(ValueError, match="-1 is below 0"):
        list(mapper.map(double, [1, -1, 2]))


@pytest.mark.slow
def test_near_duplicates_over_parts_are_those_found_in_process(mapper, tmp_path, monkeypatch):
    pq.write_table(make_pairs(), tmp_path / "pairs.parquet", row_group_size=30)
    parts = list_parts([tmp_path / "pairs.parquet"])
    assert len(parts) == 3
    monkeypatch.setattr(linking, "MAPPED_FROM", 0)
    in_process = filter_parts(parts, [CONFIG], tmp_path / "facts", IN_PROCESS)
    on_ray = filter_parts(parts, [CONFIG], tmp_path / "ray", mapper)
    assert (on_ray.why == in_process.why).all()
    assert 5 < (in_process.why >= 0).sum() < 40
    assert np.array_equal(on_ray.values, in_process.values, equal_nan=True)


def test_missing_extra_says_what_to_install():
    code = "import sys; sys.modules['ray'] = None\nfrom filtering.on_ray import ray_mapper\nwith ray_mapper(): pass"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'ModuleNotFoundError: filtering on Ray needs Ray: pip install "prefloop[ray]"' in result.stderr
