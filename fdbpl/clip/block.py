"""One frozen layer of CLIP's text tower over packed tokens, its backward pass written out.

    x1 = x + O attention(QKV norm_1(x))        x2 = x1 + P act(E norm_2(x1))

The weights are frozen, so the backward pass needs only x, x1, the queries, keys and values, the
attention, and what enters the activation: about 9 numbers a token and unit of width. Automatic
differentiation keeps more, and fills and adds matrices of zeros for every slice it undoes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from fdbpl.clip.attention import attend, attend_backward
from fdbpl.clip.packing import Packing, from_slots, gradient_to_slots, to_slots

_QUICK = 1.702  # QuickGELU(x) is silu(1.702 x) / 1.702: one kernel, its scales in the products


@dataclass(frozen=True)
class _Attended:
    """Queries, keys, values and attention, each (K, h, C, n or l, ...), of some rows."""

    q: Tensor
    k: Tensor
    v: Tensor
    attention: Tensor


@dataclass(frozen=True)
class _Normed:
    """What entered a layer norm, and its means and inverse deviations."""

    x: Tensor
    mean: Tensor
    rstd: Tensor


@dataclass(frozen=True)
class Kept:
    """What one layer's backward pass needs.

    Attributes:
        first: of norm_1, over all rows.
        shared: the prefixes' keys and values, (K * h, P, d).
        attended: for each part of the rows.
        second: of norm_2, over the rows that leave the layer.
        entering: the activation, (rows, 4 W).
    """

    first: _Normed
    shared: tuple[Tensor, Tensor]
    attended: Sequence[_Attended]
    second: _Normed
    entering: Tensor


class FrozenBlock:
    """The arithmetic of one residual attention block of width W.

    Residuals and norms stay in float32; products and attention are in `dtype`.
    """

    def __init__(self, block: Any, dtype: torch.dtype):
        attention, mlp = block.attn, block.mlp
        self._heads = attention.num_heads
        self._norms = (block.ln_1, block.ln_2)
        self._dtype = dtype
        self._qkv = (attention.in_proj_weight.to(dtype), attention.in_proj_bias.to(dtype))
        self._out = _scaled(attention.out_proj, block.ls_1, dtype)
        self._enter = _scaled(mlp.c_fc, nn.Identity(), dtype)
        self._leave = _scaled(mlp.c_proj, block.ls_2, dtype)
        self._scale = _QUICK if isinstance(mlp.gelu, QuickGELU) else 1.0
        self._approximate = getattr(mlp.gelu, "approximate", "none")

    def forward(self, x: Tensor, packing: Packing) -> tuple[Tensor, Kept]:
        """Take all rows (N, W) through the layer; return new rows and what backward needs."""
        sets, heads = packing.sets, self._heads
        normed, first = self._norm(0, x)
        parts = torch.split(_linear(normed, *self._qkv), packing.rows)
        own, *slots = (
            to_slots(part, group, sets, heads, 3)
            for part, group in zip(parts, (packing.prefix, *packing.groups), strict=True)
        )
        shared = (own[1].flatten(0, 2), own[2].flatten(0, 2))
        nothing = (own[1].new_empty(sets * heads, 0, own.shape[-1]),) * 2
        mixed = torch.empty(x.shape, dtype=self._dtype, device=x.device)
        attended = []
        for (q, k, v), group, before, out in zip(
            (own, *slots),
            (packing.prefix, *packing.groups),
            (nothing, *[shared] * len(slots)),
            torch.split(mixed, packing.rows),
            strict=True,
        ):
            found, attention = attend(q, k, v, before, group.later)
            from_slots([found], group, out)
            attended.append(_Attended(q, k, v, attention))
        x, second, entering = self._rest(x, mixed)
        return x, Kept(first, shared, attended, second, entering)

    def backward(self, grad: Tensor, kept: Kept, packing: Packing) -> Tensor:
        """Return the gradient on the rows that entered, from that on the rows that left."""
        grad = self._rest_backward(grad, kept)
        parts = torch.split((grad.to(self._dtype) @ self._out[0]), packing.rows)
        on_qkv = parts[0].new_empty(len(grad), 3 * grad.shape[1])
        on_parts = torch.split(on_qkv, packing.rows)
        on_shared = [torch.zeros_like(kept.shared[0]), torch.zeros_like(kept.shared[1])]
        for index, group in enumerate(packing.groups, start=1):
            found = kept.attended[index]
            mixed = gradient_to_slots(parts[index], group, packing.sets, self._heads)
            on_own, on_prefix = attend_backward(
                mixed, found.q, found.k, found.v, kept.shared, found.attention
            )
            from_slots(on_own, group, on_parts[index])
            on_shared[0] += on_prefix[0]
            on_shared[1] += on_prefix[1]
        own = kept.attended[0]
        mixed = gradient_to_slots(parts[0], packing.prefix, packing.sets, self._heads)
        nothing = (own.k.new_empty(len(kept.shared[0]), 0, own.k.shape[-1]),) * 2
        (on_q, on_k, on_v), _ = attend_backward(mixed, own.q, own.k, own.v, nothing, own.attention)
        on_k += on_shared[0].view_as(on_k)
        on_v += on_shared[1].view_as(on_v)
        from_slots((on_q, on_k, on_v), packing.prefix, on_parts[0])
        return grad + self._norm_backward(0, on_qkv @ self._qkv[0], kept.first)

    def forward_ends(self, x: Tensor, packing: Packing) -> tuple[Tensor, Kept]:
        """Take all rows (N, W) to the end tokens' (K * C, W): all that is read of a last layer."""
        sets, heads, width = packing.sets, self._heads, x.shape[1]
        weight, bias = self._qkv
        normed, first = self._norm(0, x)
        queries = _linear(normed[packing.ends], weight[:width], bias[:width])
        parts = torch.split(_linear(normed, weight[width:], bias[width:]), packing.rows)
        own, *slots = (
            to_slots(part, group, sets, heads, 2)
            for part, group in zip(parts, (packing.prefix, *packing.groups), strict=True)
        )
        shared = (own[0].flatten(0, 2), own[1].flatten(0, 2))
        mixed = torch.empty_like(queries)
        attended = []
        for (k, v), group, rows, out in zip(
            slots,
            packing.groups,
            torch.split(queries, packing.end_rows),
            torch.split(mixed, packing.end_rows),
            strict=True,
        ):
            q = _to_ends(rows, sets, heads)
            found, attention = attend(q, k, v, shared, group.after)
            out.copy_(_from_ends(found))
            attended.append(_Attended(q, k, v, attention))
        x, second, entering = self._rest(x[packing.ends], mixed)
        return x, Kept(first, shared, attended, second, entering)

    def backward_ends(self, grad: Tensor, kept: Kept, packing: Packing) -> Tensor:
        """Return the gradient on all rows (N, W) from that on the end tokens (K * C, W)."""
        grad = self._rest_backward(grad, kept)
        width, weight = grad.shape[1], self._qkv[0]
        mixed = grad.to(self._dtype) @ self._out[0]
        on_q = torch.empty_like(mixed)
        on_kv = mixed.new_empty(len(kept.first.x), 2 * width)
        on_prefix_rows, *on_parts = torch.split(on_kv, packing.rows)
        on_shared = [torch.zeros_like(kept.shared[0]), torch.zeros_like(kept.shared[1])]
        for group, found, rows, out_q, out_kv in zip(
            packing.groups,
            kept.attended,
            torch.split(mixed, packing.end_rows),
            torch.split(on_q, packing.end_rows),
            on_parts,
            strict=True,
        ):
            (q, *kv), on_prefix = attend_backward(
                _to_ends(rows, packing.sets, self._heads),
                found.q, found.k, found.v, kept.shared, found.attention,
            )  # fmt: skip
            out_q.copy_(_from_ends(q))
            from_slots(kv, group, out_kv)
            on_shared[0] += on_prefix[0]
            on_shared[1] += on_prefix[1]
        shape = (packing.sets, self._heads, 1, packing.prefix.length, -1)
        from_slots([total.view(shape) for total in on_shared], packing.prefix, on_prefix_rows)
        on_normed = on_kv @ weight[width:]
        on_normed[packing.ends] += on_q @ weight[:width]
        on_x = self._norm_backward(0, on_normed, kept.first)
        on_x[packing.ends] += grad
        return on_x

    def _rest(self, x: Tensor, mixed: Tensor) -> tuple[Tensor, _Normed, Tensor]:
        """Everything after attention."""
        x = x + _linear(mixed, *self._out)
        normed, second = self._norm(1, x)
        entering = _linear(normed, *self._enter, scale=self._scale)
        if self._scale == 1:
            active = nn.functional.gelu(entering, approximate=self._approximate)
        else:
            active = nn.functional.silu(entering)
        weight, bias = self._leave
        leaving = torch.addmm(bias, active, weight.t(), alpha=1 / self._scale)
        return x + leaving, second, entering

    def _rest_backward(self, grad: Tensor, kept: Kept) -> Tensor:
        on_active = grad.to(self._dtype) @ self._leave[0]
        if self._scale == 1:
            on_entering = torch.ops.aten.gelu_backward(
                on_active, kept.entering, approximate=self._approximate
            )
        else:  # the two scales cancel
            on_entering = torch.ops.aten.silu_backward(on_active, kept.entering)
        return grad + self._norm_backward(1, on_entering @ self._enter[0], kept.second)

    def _norm(self, which: int, x: Tensor) -> tuple[Tensor, _Normed]:
        norm = self._norms[which]
        out, mean, rstd = torch.native_layer_norm(
            x, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return out.to(self._dtype), _Normed(x, mean, rstd)

    def _norm_backward(self, which: int, grad: Tensor, kept: _Normed) -> Tensor:
        norm = self._norms[which]
        on_x: Tensor = torch.ops.aten.native_layer_norm_backward(
            grad.to(kept.x.dtype), kept.x, norm.normalized_shape, kept.mean, kept.rstd,
            norm.weight, norm.bias, [True, False, False],
        )[0]  # fmt: skip
        return on_x


def _scaled(linear: nn.Linear, scale: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias, with the layer scale that follows them multiplied in."""
    gamma = getattr(scale, "gamma", None)
    weight, bias = linear.weight, linear.bias
    if gamma is not None:
        weight, bias = weight * gamma[:, None], bias * gamma
    return weight.detach().to(dtype), bias.detach().to(dtype)


def _linear(x: Tensor, weight: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """Return scale * (x W^T + b)."""
    return torch.addmm(bias, x, weight.t(), beta=scale, alpha=scale)


def _to_ends(rows: Tensor, sets: int, heads: int) -> Tensor:
    """Bring rows (K * C, W) to (K, h, C, 1, d)."""
    split = rows.view(sets, -1, heads, rows.shape[1] // heads)
    return split.transpose(1, 2).contiguous()[:, :, :, None]


def _from_ends(x: Tensor) -> Tensor:
    """Bring (K, h, C, 1, d) to rows (K * C, W)."""
    return x.squeeze(3).transpose(1, 2).flatten(2).flatten(0, 1)
