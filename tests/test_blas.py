import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fdbpl.system.blas import one_thread


def of_blas() -> set[int]:
    np.zeros((2, 2)) @ np.zeros((2, 2))
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_products_take_one_thread_inside_and_what_they_took_before_outside() -> None:
    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):  # found anew, and remembered
            with one_thread():
                assert of_blas() == {1}
            assert of_blas() == {2}
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert of_blas() == {2}
