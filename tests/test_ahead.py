import threading

import jax
import pytest
from jax import monitoring

from mlp_jax import data
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import normalize
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import ahead
from mlp_jax.training import population
from mlp_jax.training.config import Run, TrainConfig


def test_items_come_in_order_each_when_its_tasks_are_done(monkeypatch):
    monkeypatch.setattr(ahead, "AT_ONCE", 2)
    done, threads = set(), set()

    def tasks(item):
        def task(part):
            threads.add(threading.current_thread().name)
            done.add((item, part))

        return [lambda part=part: task(part) for part in range(item)]

    seen = []
    for item in ahead.prepared(range(5), tasks):
        assert {(item, part) for part in range(item)} <= done
        assert not {other for other, _ in done if other > item + 2}  # no more than two ahead
        seen.append(item)
    assert seen == list(range(5))
    assert threading.current_thread().name not in threads


def test_an_error_comes_where_its_item_would():
    def fail():
        raise UserError("wrong")

    found = ahead.prepared([0, 1, 2], lambda item: [fail] if item == 1 else [])
    assert next(found) == 0
    with pytest.raises(UserError, match="wrong"):
        next(found)


def test_what_is_compiled_ahead_is_not_compiled_again():
    splits = normalize(data.split(synthetic(train=200, test=20), validation=40), "standardize")
    model = MLPConfig(hidden=(3,), inputs=192)
    config = TrainConfig(batch_size=20, steps=12)
    runs = [Run(jax.random.key(seed), model, config) for seed in range(2)]
    asked: list[str] = []
    monitoring.register_event_listener(lambda event, **_: asked.append(event))

    def programs(*actions):
        jax.clear_caches()
        asked.clear()
        for action in actions:
            action(runs, splits)
        return asked.count("/jax/compilation_cache/compile_requests_use_cache")

    train = population.train_population
    train(runs, splits)  # which compiler's options there are is asked once
    assert programs(population.compile_ahead) == 2  # the minibatches' order and the epoch
    assert programs(population.compile_ahead, train) == programs(train) > 2
    with pytest.raises(UserError, match="larger than the training split"):
        population.compile_ahead([Run(runs[0].key, model, TrainConfig(batch_size=500))], splits)
