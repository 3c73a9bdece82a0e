"""Right gradients in numpy, as others would write them; nothing here comes from the package."""

import numpy as np


def solution(
    *,
    normalisation="none",
    place="before",
    residual=False,
    dropout=0.0,
    slope=0.0,
    half=False,
    dtype=np.float64,
    at_zero=0.0,
    loops=False,
):
    """f(params, x, y, l2, masks) -> (loss, grads) for any depth of (leaky) ReLU layers.

    residual: a layer as wide as the one before adds that one's output. half: penalty lambda/2 ||W||^2. at_zero:
    the activation's derivative at exactly 0. loops: one example at a time (not with batch normalisation).
    """
    axis = 1 if normalisation == "layer" else 0
    place = "none" if normalisation == "none" else place

    def activate(z):
        return np.where(z > 0, z, slope * z)

    def derivative(z):
        return np.where(z > 0, 1, np.where(z == 0, at_zero, slope)).astype(dtype)

    def normalise(u, gamma, beta):
        std = np.sqrt(u.var(axis=axis, keepdims=True) + 1e-5)
        n = (u - u.mean(axis=axis, keepdims=True)) / std
        return gamma * n + beta, (n, std, gamma)

    def back_through_norm(d, cache):
        n, std, gamma = cache
        dn = d * gamma
        m = d.shape[axis]
        sums = dn.sum(axis=axis, keepdims=True), (dn * n).sum(axis=axis, keepdims=True)
        du = (m * dn - sums[0] - n * sums[1]) / (m * std)
        return du, (d * n).sum(axis=0), d.sum(axis=0)

    def data_part(params, x, y, masks):
        depth = sum(name.startswith("W") for name in params)
        a, caches = x, []
        for k in range(1, depth):
            inputs, norm = a, None
            z = a @ params[f"W{k}"] + params[f"b{k}"]
            if place == "before":
                z, norm = normalise(z, params[f"gamma{k}"], params[f"beta{k}"])
            a = activate(z)
            if place == "after":
                a, norm = normalise(a, params[f"gamma{k}"], params[f"beta{k}"])
            if dropout:
                a = a * masks[k - 1] / dtype(1 - dropout)
            if residual and k > 1 and a.shape == inputs.shape:
                a = a + inputs
            caches.append((inputs, z, norm))
        scores = a @ params[f"W{depth}"] + params[f"b{depth}"]
        shifted = scores - scores.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        rows = np.arange(len(y))
        loss = (log_sum - shifted[rows, y]).mean()
        d = np.exp(shifted - log_sum[:, None])
        d[rows, y] -= 1
        d = d / len(y)
        grads = {f"W{depth}": a.T @ d, f"b{depth}": d.sum(axis=0)}
        over_skip = 0
        for k in range(depth - 1, 0, -1):
            inputs, z, norm = caches[k - 1]
            d = d @ params[f"W{k + 1}"].T + over_skip
            over_skip = d if residual and k > 1 and z.shape == inputs.shape else 0
            if dropout:
                d = d * masks[k - 1] / dtype(1 - dropout)
            if place == "after":
                d, grads[f"gamma{k}"], grads[f"beta{k}"] = back_through_norm(d, norm)
            d = d * derivative(z)
            if place == "before":
                d, grads[f"gamma{k}"], grads[f"beta{k}"] = back_through_norm(d, norm)
            grads[f"W{k}"], grads[f"b{k}"] = inputs.T @ d, d.sum(axis=0)
        return loss, grads

    def one_at_a_time(params, x, y, masks):
        loss, total = dtype(0), dict[str, np.ndarray]()
        for i in range(len(y)):
            row, grads = data_part(params, x[i : i + 1], y[i : i + 1], [m[i : i + 1] for m in masks or []])
            loss += row / len(y)
            total = {name: total.get(name, 0) + grad / dtype(len(y)) for name, grad in grads.items()}
        return loss, total

    def f(params, x, y, l2, masks=None):
        params = {name: value.astype(dtype) for name, value in params.items()}
        loss, grads = (one_at_a_time if loops else data_part)(params, x.astype(dtype), y, masks)
        l2 = dtype(l2 / 2 if half else l2)
        for name in params:
            if name.startswith("W"):
                loss = loss + l2 * (params[name] ** 2).sum()
                grads[name] = grads[name] + 2 * l2 * params[name]
        return loss, grads

    return f


def bottleneck(params, x, y, l2, masks=None, wrong=None):
    """(loss, grads) of a linear map and inverted bottleneck blocks of ReLU; `wrong`: what it gets wrong.

    W1 maps to the width; W2 (with gamma2, beta2) and W3 make the first block, a + relu(norm(a) W2 + b2) W3 + b3.
    """
    blocks = (sum(name.startswith("W") for name in params) - 2) // 2
    a, caches = x @ params["W1"] + params["b1"], []
    for block in range(blocks):
        k = 2 + 2 * block
        std = np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
        n = (a - a.mean(axis=1, keepdims=True)) / std
        u = params[f"gamma{k}"] * n + params[f"beta{k}"]
        z = u @ params[f"W{k}"] + params[f"b{k}"]
        h = np.maximum(z, 0) * (1 if masks is None else masks[block] / 0.5)
        a = a + h @ params[f"W{k + 1}"] + params[f"b{k + 1}"]
        caches.append((std, n, u, z, h))
    last = 2 + 2 * blocks
    scores = a @ params[f"W{last}"] + params[f"b{last}"]
    scores = scores - scores.max(axis=1, keepdims=True)
    log_psi = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = -log_psi[rows, y].mean()
    d = np.exp(log_psi)
    d[rows, y] -= 1
    d = d / len(y)
    grads = {f"W{last}": a.T @ d, f"b{last}": d.sum(axis=0)}
    d = d @ params[f"W{last}"].T
    for block in range(blocks - 1, -1, -1):
        k, (std, n, u, z, h) = 2 + 2 * block, caches[block]
        grads[f"W{k + 1}"], grads[f"b{k + 1}"] = h.T @ d, d.sum(axis=0)
        dz = d @ params[f"W{k + 1}"].T * (z > 0) * (1 if masks is None else masks[block] / 0.5)
        if wrong == "mask":
            dz = d @ params[f"W{k + 1}"].T * (1 if masks is None else masks[block] / 0.5)
        grads[f"W{k}"], grads[f"b{k}"] = u.T @ dz, dz.sum(axis=0)
        du = dz @ params[f"W{k}"].T
        grads[f"gamma{k}"], grads[f"beta{k}"] = (du * n).sum(axis=0), du.sum(axis=0)
        dn = du * params[f"gamma{k}"]
        mean = 0 if wrong == "mean" else dn.mean(axis=1, keepdims=True)
        through = (dn - mean - n * (dn * n).mean(axis=1, keepdims=True)) / std
        d = through + (0 if wrong == "skip" else d)
    grads["W1"], grads["b1"] = x.T @ d, d.sum(axis=0)
    for name in params:
        if name.startswith("W"):
            loss = loss + l2 * (params[name] ** 2).sum()
            grads[name] = grads[name] + 2 * l2 * params[name]
    return loss, grads
