from experiments import _runs, depth_study, init_study
from mlp_jax import data, results


def row(best, *tried):
    choice = [{"learning_rate": rate, "validation_accuracy": accuracy} for rate, accuracy in tried]
    return {"name": "x", "recipe": {"learning_rate": best}, "choice": choice}


def test_a_best_rate_at_the_edge_is_noted():
    def notes(*rows):
        return _runs.edge_notes(rows, lambda row: row["name"])

    inside = row(0.2, (0.1, 0.5), (0.2, 0.6), (0.4, 0.5))
    low, high = row(0.1, (0.1, 0.7), (0.2, 0.6), (0.4, 0.5)), row(0.4, (0.1, 0.1), (0.2, 0.2), (0.4, 0.3))
    dead = row(0.1, (0.1, 0.1), (0.2, 0.1), (0.4, 0.1))
    two = row(0.1, (0.1, 0.7), (0.2, 0.6))
    assert notes(inside, dead, two) == []
    assert notes(low, high) == [
        "note: x did best at the edge of --learning_rates: try beyond 0.1",
        "note: x did best at the edge of --learning_rates: try beyond 0.4",
    ]


def test_every_row_tells_its_data_and_protocol(tmp_path):
    common = {"dataset": "synthetic", "seeds": 1, "layers": "1", "epochs": 1, "results_dir": str(tmp_path)}
    depth_study.run(depth_study.Config(**common, learning_rate=0.1, protocol="published"))
    init_study.run(init_study.Config(**common, inits="he", optimizers="sgd", protocol="published"))
    ours = data.synthetic().fingerprint
    for study in ("depth_study", "init_study"):
        content = results.read_json(tmp_path / study / "results.json")
        assert {row["data_fingerprint"] for row in content["rows"]} == {ours}
        assert {row["protocol"] for row in content["rows"]} == {"published"}
