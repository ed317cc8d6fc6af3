"""Attention to a shared prefix and to one's own class, forward and backward.

Shapes: K contexts, h heads of depth d, C classes with n queries and l keys each, and a prefix of
P tokens whose keys and values all classes share, never copied per class.
"""

import torch
from torch import Tensor


def attend(
    q: Tensor, k: Tensor, v: Tensor, prefix: tuple[Tensor, Tensor], hidden: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Mix the values that each query sees.

    Args:
        q: (K, h, C, n, d) queries.
        k: (K, h, C, l, d) keys of the same class.
        v: values, likewise.
        prefix: keys and values (K * h, P, d).
        hidden: own keys that must not be seen, broadcast to (K, h, C, n, l).

    Returns:
        (K, h, C, n, d), and the attention (K, h, C, n, P + l) that `attend_backward` needs.
    """
    flat, (keys, values) = _flat(q), prefix
    shared = (flat @ keys.mT).view(*q.shape[:-1], -1)
    scores = torch.cat([shared, q @ k.mT], dim=-1).mul_(q.shape[-1] ** -0.5)
    width = keys.shape[1]
    if hidden is not None:
        scores[..., width:].masked_fill_(hidden, -torch.inf)
    precise = torch.promote_types(q.dtype, torch.float32)
    attention = scores.softmax(dim=-1, dtype=precise).to(q.dtype)
    mixed = attention[..., width:] @ v
    _flat(mixed).baddbmm_(_flat(attention[..., :width]), values)
    return mixed, attention


def attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix: tuple[Tensor, Tensor],
    attention: Tensor,
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the gradients of (q, k, v), and of the prefix's keys and values."""
    keys, values = prefix
    width = keys.shape[1]
    flat_grad, flat_q = _flat(grad), _flat(q)
    shared = (flat_grad @ values.mT).view(*q.shape[:-1], -1)
    on_attention = torch.cat([shared, grad @ v.mT], dim=-1)
    on_scores = torch.ops.aten._softmax_backward_data(
        on_attention, attention, -1, attention.dtype
    ).mul_(q.shape[-1] ** -0.5)
    on_shared, on_own = _flat(on_scores[..., :width]), on_scores[..., width:]
    on_q = on_own @ k
    _flat(on_q).baddbmm_(on_shared, keys)
    own = (on_q, on_own.mT @ q, attention[..., width:].mT @ grad)
    return own, (on_shared.mT @ flat_q, _flat(attention[..., :width]).mT @ flat_grad)


def _flat(x: Tensor) -> Tensor:
    """Join (K, h, C, n, e) to (K * h, C * n, e)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3], x.shape[4])
