"""Each op against its rivals: which inputs, which ways to the answer, and what the project promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import miafast as mf
from benchmarks import cases, loops, rivals
from benchmarks.cases import CHECKED, Case, Way
from benchmarks.table import Section
from miafast import _native
from miafast.ops.auc_components import auc_components
from miafast.ops.log_ratio import log_ratio
from miafast.ops.log_ratio_leave_one_out import log_ratio_leave_one_out
from miafast.ops.mlp_confidence import mlp_confidence
from miafast.ops.neighbour_share import neighbour_share
from miafast.ops.rmia import rmia
from miafast.ops.roc_counts import roc_counts
from miafast.ops.tpr_at import tpr_at
from miafast.tables import Array

FPRS = (1e-1, 1e-2, 1e-3, 1e-4)


def phi(records: int, classes: int, promised: Mapping[str, float], share: float | None) -> Case:
    logits, labels = _logits(records, classes)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    return Case(
        title=f"phi, {_count(records)} × {classes} float32",
        reads=logits.nbytes + labels.nbytes,
        truth=lambda: _by_truth(mf.logit_confidence, logits[:CHECKED].astype(np.float64), labels[:CHECKED]),
        ours=Way(lambda: mf.logit_confidence(logits, labels)),
        rivals={
            "PyTorch eager, phi and loss": Way(lambda: rivals.torch_phi_and_loss(*tensors), _first),
            "torch.compile, phi and loss": Way(_bind(rivals.compiled(rivals.torch_phi_and_loss), *tensors), _first),
            "PyTorch eager, phi alone": Way(lambda: rivals.torch_phi(*tensors)),
            "torch.compile, phi alone": Way(_bind(rivals.compiled(rivals.torch_phi), *tensors)),
            "NumPy float64": Way(lambda: rivals.numpy_phi(logits, labels)),
            "SciPy logsumexp": Way(lambda: rivals.scipy_phi(logits, labels)),
        },
        at_least=promised,
        share_at_least=share,
    )


def signals(records: int, classes: int) -> Case:
    logits, labels = _logits(records, classes)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels)
    names = ("phi", "loss", "confidence", "entropy", "modified_entropy", "margin", "correct")

    def truth() -> Array:
        with mf.backend("numpy"):
            return _rows(mf.signals(logits[:CHECKED].astype(np.float64), labels[:CHECKED]))

    def _rows(result: Any) -> Array:
        return np.stack([np.asarray(getattr(result, name))[:CHECKED] for name in names], axis=1)

    def _tensor_rows(result: Any) -> Array:
        return np.stack([np.asarray(each)[:CHECKED] for each in result], axis=1)

    return Case(
        title=f"signals (all seven), {_count(records)} × {classes} float32",
        reads=logits.nbytes + labels.nbytes,
        truth=truth,
        ours=Way(lambda: mf.signals(logits, labels), _rows),
        rivals={
            "PyTorch eager": Way(lambda: rivals.torch_signals(*tensors), _tensor_rows),
            "torch.compile": Way(_bind(rivals.compiled(rivals.torch_signals), *tensors), _tensor_rows),
        },
        tolerance=2e-3,  # the rivals' log(1 - p) loses digits where p is near 1; ours are checked closer in the tests
    )


def head(records: int, classes: int, width: int, dtype: str, promised: float) -> Case:
    """The first tokens' losses are checked."""
    random = np.random.default_rng(0)
    of_type = getattr(torch, dtype)
    features = torch.from_numpy(random.standard_normal((records, width), dtype=np.float32)).to(of_type)
    weight = torch.from_numpy(random.standard_normal((classes, width), dtype=np.float32) / width**0.5).to(of_type)
    bias = torch.zeros(classes, dtype=of_type)
    labels = torch.from_numpy(random.integers(classes, size=records))
    few = slice(64)

    def losses(found: Any) -> Array:
        return np.logaddexp(0.0, -np.asarray(found.phi[few], np.float64))

    def truth() -> Array:
        with mf.backend("numpy"):
            return losses(mf.linear_confidence(features[few].double(), weight.double(), bias.double(), labels[few]))

    rival = "PyTorch addmm and cross-entropy"
    return Case(
        title=f"language model's head, {_count(records)} tokens × {width} → {_count(classes)} classes, {dtype}",
        reads=sum(each.nbytes for each in (features, weight, bias, labels)),
        truth=truth,
        ours=Way(lambda: mf.linear_confidence(features, weight, bias, labels), losses),
        rivals={
            rival: Way(
                lambda: rivals.torch_head_loss(features, weight, bias, labels), lambda loss: loss[few].float().numpy()
            )
        },
        at_least={rival: promised},
        tolerance=1e-4 if dtype == "float32" else 2e-2,  # the rival's logits are rounded to bfloat16
    )


#: Without it real inputs are float32 products, of which the loop does half of what a processor can.
WITH_AMX = "amx" in _native.isas()


def mlps(
    what: str, inputs: tuple[Array, Array], hidden: int, classes: int, *, models: int, at_least: float = 4
) -> Case:
    x, labels = inputs
    records, features = x.shape
    modules = [loops.mlp(features, (hidden,), classes).eval() for _ in range(models)]
    weights = torch.stack([torch.cat([each.detach().flatten() for each in module.parameters()]) for module in modules])
    layers = [(torch.stack([m[i].weight.detach() for m in modules]),
               torch.stack([m[i].bias.detach() for m in modules])) for i in (0, 2)]  # fmt: skip
    tensors = torch.from_numpy(x), torch.from_numpy(labels)
    options = {"widths": (features, hidden, classes), "activation": "relu"}
    loop = "PyTorch, a loop over the models"

    def truth() -> Array:
        with mf.backend("numpy"):
            return mlp_confidence(x, weights.double().numpy(), labels, **options).phi

    return Case(
        title=f"inference to phi, {models} MLPs {features}-{hidden}-{classes}, {_count(records)} records, {what}",
        reads=x.nbytes + labels.nbytes + weights.nbytes,
        truth=truth,
        ours=Way(lambda: mlp_confidence(x, weights.numpy(), labels, **options), _first),
        rivals={
            loop: Way(lambda: rivals.torch_loop_phi(modules, *tensors)),
            "PyTorch, batched products": Way(lambda: rivals.torch_stacked_phi(layers, *tensors)),
        },
        at_least={loop: at_least},
    )


def lira(records: int, models: int) -> Case:
    target, shadow, in_mask = _phis(records, models)
    attack = mf.LiRA(mode="online", variance="per-record")
    few, tenth = slice(CHECKED), slice(max(1, records // 10))
    return Case(
        title=f"LiRA online, per-record variance, {_count(records)} × {models} models",
        reads=target.nbytes + shadow.nbytes + in_mask.nbytes,
        truth=lambda: _by_truth(attack.score, target[few], shadow[:, few].astype(np.float64), in_mask[:, few]),
        ours=Way(lambda: attack.score(target, shadow, in_mask)),
        rivals={
            "NumPy float64": Way(lambda: rivals.numpy_lira(target, shadow, in_mask)),
            "SciPy norm.logpdf": Way(lambda: rivals.scipy_lira(target, shadow, in_mask)),
            # Medians and sides cut to one length: another score, so only the time is compared. Linear in records.
            "the released code's way (10 × a tenth)": Way(
                _bind(rivals.released_lira, target[tenth], shadow[:, tenth], in_mask[:, tenth]), answer=None, repeats=10
            ),
        },
        at_least={"NumPy float64": 20, "the released code's way (10 × a tenth)": 300},
        share_at_least=0.5,
    )


def lira_released(records: int, models: int) -> Case:
    target, shadow, in_mask = _phis(records, models)
    attack = mf.LiRA.released_code()
    few = slice(CHECKED)
    return Case(
        title=f"LiRA as released (medians, cut to the common count), {_count(records)} × {models} models",
        reads=target.nbytes + shadow.nbytes + in_mask.nbytes,
        truth=lambda: rivals.released_lira(target, shadow.astype(np.float64), in_mask)[few],
        ours=Way(lambda: attack.score(target, shadow, in_mask)),
        rivals={"the released code's way": Way(lambda: rivals.released_lira(target, shadow, in_mask))},
        tolerance=1e-3,
    )


def leave_one_out(records: int, models: int, variance: str) -> Case:
    _, shadow, in_mask = _phis(records, models)
    attack = mf.LiRA(mode="online", variance=variance)
    few = slice(CHECKED)
    others = np.arange(models) != 0
    return Case(
        title=f"LiRA leave-one-out, {variance} variance, {models} targets, {_count(records)} records",
        reads=shadow.nbytes + in_mask.nbytes,
        truth=lambda: _by_truth(attack.score_all, shadow[:, few].astype(np.float64), in_mask[:, few])[0],
        # A prior is of all records: the first ones are scored again on their own, to be compared.
        ours=Way(
            lambda: attack.score_all(shadow, in_mask), lambda _: attack.score_all(shadow[:, few], in_mask[:, few])[0]
        ),
        rivals={
            f"{models} × one target": Way(
                # Its answer is another one: with equal IN counts `score_all` leaves one more model out, for balance.
                _bind(attack.score, shadow[0], shadow[others], in_mask[others]),
                answer=None,
                repeats=models,
            ),
        },
        at_least={f"{models} × one target": models / 6},  # all targets in at most six times one target's time
    )


def ratios(records: int, models: int) -> Case:
    target, shadow, in_mask = _phis(records, models)
    whole = target[:, None], shadow[..., None], in_mask
    plain, on_logs = "NumPy float64, probabilities", "NumPy float64, on the log scale"
    return Case(
        title=f"log ratio (RMIA, BASE) online, {_count(records)} × {models} models",
        reads=sum(each.nbytes for each in whole),
        truth=lambda: _by_truth(log_ratio, *whole)[:CHECKED, 0],
        ours=Way(lambda: log_ratio(*whole), lambda found: found[:, 0]),
        rivals={
            on_logs: Way(lambda: _by_truth(log_ratio, *whole), lambda found: found[:, 0]),
            plain: Way(lambda: rivals.numpy_log_ratio(target, shadow, in_mask)),
        },
        at_least={on_logs: 20},
    )


def ratios_leave_one_out(records: int, models: int) -> Case:
    _, shadow, in_mask = _phis(records, models)
    shadow, others = shadow[..., None], np.arange(models) != 0
    on_logs, loop = "NumPy float64, on the log scale", f"{models} × one target"
    return Case(
        title=f"log ratio (RMIA, BASE) leave-one-out, {models} targets, {_count(records)} records",
        reads=shadow.nbytes + in_mask.nbytes,
        truth=lambda: _by_truth(log_ratio_leave_one_out, shadow.astype(np.float64), in_mask)[0, :CHECKED, 0],
        ours=Way(lambda: log_ratio_leave_one_out(shadow, in_mask), lambda found: found[0, :, 0]),
        rivals={
            on_logs: Way(lambda: _by_truth(log_ratio_leave_one_out, shadow, in_mask), lambda found: found[0, :, 0]),
            # Another answer, as for LiRA: with equal IN counts one more model is left out.
            loop: Way(_bind(log_ratio, shadow[0], shadow[others], in_mask[others]), answer=None, repeats=models),
        },
        at_least={on_logs: 20, loop: models / 6},
    )


def rmia_shares(records: int, population: int) -> Case:
    """Log ratios rounded to thousandths, so that ties count too; the answer must be the matrix's, bit for bit."""
    random = np.random.default_rng(0)
    x, z = random.standard_normal((records, 1)).round(3), random.standard_normal(population).round(3)
    matrix, released = "NumPy, the matrix of pairs", "the released code's way (10 × a tenth)"
    return Case(
        title=f"RMIA, {_count(records)} records × {_count(population)} of the population",
        reads=x.nbytes + z.nbytes,
        truth=lambda: _by_truth(rmia, x, z),
        ours=Way(lambda: rmia(x, z)),
        rivals={
            matrix: Way(lambda: rivals.numpy_rmia(x[:, 0], z)),
            # Its tenth of the records is timed ten times: the whole matrix of ratios would take 4 GB.
            released: Way(_bind(rivals.released_rmia, x[: records // 10, 0], z), answer=None, repeats=10),
            "np.sort and np.searchsorted": Way(lambda: rivals.searchsorted_rmia(x[:, 0], z)),
        },
        at_least={matrix: 100},
        tolerance=0,
    )


def neighbours(records: int, models: int) -> Case:
    """Long's vulnerable records, every model in turn the target; the features are the other models' logits."""
    logits = np.random.default_rng(0).standard_normal((models, records, 10)).astype(np.float32)
    share = partial(neighbour_share, radius=0.9, references=1000, leave_one_out=True)
    truth, product = "NumPy, parts subtracted", "NumPy, a product per target"
    return Case(
        title=f"neighbours among 1,000, {_count(records)} records × {models} models × 10 classes",
        reads=logits.nbytes,
        truth=lambda: _by_truth(share, logits),
        ours=Way(lambda: share(logits)),
        rivals={
            truth: Way(lambda: _by_truth(share, logits)),
            # One target is timed, as often as there are targets.
            product: Way(lambda: rivals.numpy_neighbours(logits[1:], 0.9, 1000), answer=None, repeats=models),
        },
        at_least={product: 10},
        tolerance=1e-6,
    )


def components(records: int, targets: int) -> Case:
    _, scores, is_member = _phis(records, targets)
    curve = roc_counts(scores, is_member)

    def by_truth() -> Array:
        return np.asarray(auc_components.truth(scores, is_member, *curve))

    return Case(
        title=f"every record's components of the AUC, {targets} targets × {_count(records)}",
        reads=scores.nbytes + is_member.nbytes,
        truth=by_truth,
        ours=Way(lambda: auc_components(scores, is_member, *curve)),
        rivals={"NumPy argsort and searchsorted": Way(by_truth)},
        at_least={"NumPy argsort and searchsorted": 3},
    )


def exact_roc(count: int) -> Case:
    scores, is_member = _scores(count)

    def curve(result: Any) -> Array:
        false_positives, true_positives = np.asarray(result[1]), np.asarray(result[2])
        return np.stack([false_positives, true_positives]) / [[(~is_member).sum()], [is_member.sum()]]

    def their_curve(result: Any) -> Array:
        return np.stack([result[0][1:], result[1][1:]])

    def truth() -> Array:
        with mf.backend("numpy"):
            return curve(roc_counts(scores, is_member))

    return Case(
        title=f"exact ROC, {_count(count)} scores",
        reads=scores.nbytes + is_member.nbytes,
        truth=truth,
        ours=Way(lambda: roc_counts(scores, is_member), curve),
        rivals={
            "scikit-learn roc_curve": Way(lambda: rivals.sklearn_roc(scores, is_member), their_curve),
            "two np.sort (no ROC yet)": Way(lambda: rivals.two_sorts(scores, is_member), None),
        },
        at_least={"scikit-learn roc_curve": 25},
    )


def tpr_at_fprs(count: int) -> Case:
    scores, is_member = _scores(count)
    return Case(
        title=f"TPR at four FPRs, {_count(count)} scores",
        reads=scores.nbytes + is_member.nbytes,
        truth=lambda: _by_truth(tpr_at, scores, is_member, FPRS),
        ours=Way(lambda: tpr_at(scores, is_member, FPRS)),
        rivals={
            "scikit-learn roc_curve": Way(lambda: rivals.sklearn_tpr_at(scores, is_member, FPRS)),
            "two np.sort (no TPR yet)": Way(lambda: rivals.two_sorts(scores, is_member), None),
        },
        at_least={"scikit-learn roc_curve": 150},
    )


EAGER, COMPILED = "PyTorch eager, phi and loss", "torch.compile, phi and loss"
M = 1_000_000
#: name -> the case at full size, and at a size that takes moments.
CASES: dict[str, tuple[Callable[[], Case], Callable[[], Case]]] = {
    "phi-10": (lambda: phi(M, 10, {EAGER: 40, COMPILED: 12}, None), lambda: phi(999, 10, {}, None)),
    "phi-100": (lambda: phi(M, 100, {EAGER: 25, COMPILED: 12}, 0.5), lambda: phi(999, 100, {}, None)),
    "head": (lambda: head(4096, 50_257, 768, "float32", 1), lambda: head(99, 999, 32, "float32", 1)),
    "head-bfloat16": (lambda: head(4096, 50_257, 768, "bfloat16", 1), lambda: head(99, 999, 32, "bfloat16", 1)),
    "mlps-digits": (
        lambda: mlps("digits", _digits(), 64, 10, models=64, at_least=4 if WITH_AMX else 3),
        lambda: mlps("digits", _digits(), 64, 10, models=2),
    ),
    "mlps-bits": (
        lambda: mlps("bits", _bits(5010, 446, 30), 128, 30, models=64),
        lambda: mlps("bits", _bits(99, 446, 30), 128, 30, models=2),
    ),
    "mlps-few-bits": (
        lambda: mlps("bits, a tenth of them 1", _bits(5010, 446, 30, share=0.1), 128, 30, models=64),
        lambda: mlps("bits, a tenth of them 1", _bits(99, 446, 30, share=0.1), 128, 30, models=2),
    ),
    "mlps-images": (
        lambda: mlps("a fifth not 0", _sparse(5000, 784, 10, share=0.2), 128, 10, models=64, at_least=2.5),
        lambda: mlps("a fifth not 0", _sparse(99, 784, 10, share=0.2), 128, 10, models=2),
    ),
    "mlps-reals": (
        lambda: mlps("real numbers", _reals(5010, 446, 30), 128, 30, models=64, at_least=4 if WITH_AMX else 1.5),
        lambda: mlps("real numbers", _reals(99, 446, 30), 128, 30, models=2),
    ),
    "signals-10": (lambda: signals(M, 10), lambda: signals(999, 10)),
    "lira": (lambda: lira(M, 64), lambda: lira(999, 64)),
    "lira-released": (lambda: lira_released(M // 10, 64), lambda: lira_released(999, 64)),
    "leave-one-out": (lambda: leave_one_out(M, 64, "per-record"), lambda: leave_one_out(999, 16, "per-record")),
    "leave-one-out-shrunken": (
        lambda: leave_one_out(M, 64, "shrunken"), lambda: leave_one_out(999, 16, "shrunken")
    ),
    "log-ratio": (lambda: ratios(50_000, 64), lambda: ratios(999, 64)),
    "log-ratio-leave-one-out": (
        lambda: ratios_leave_one_out(50_000, 64), lambda: ratios_leave_one_out(999, 16)
    ),
    "rmia": (lambda: rmia_shares(50_000, 10_000), lambda: rmia_shares(999, 100)),
    "neighbours": (lambda: neighbours(50_000, 64), lambda: neighbours(99, 8)),
    "roc": (lambda: exact_roc(10 * M), lambda: exact_roc(9999)),
    "auc-components": (lambda: components(M // 10, 64), lambda: components(999, 3)),
    "tpr-at": (lambda: tpr_at_fprs(10 * M), lambda: tpr_at_fprs(9999)),
}  # fmt: skip


def run(name: str, *, read_bytes_per_s: float, smoke: bool, rounds: int) -> list[dict[str, Any]]:
    """Build one case, check it and time it: see `cases.compare`."""
    case = CASES[name][smoke]()
    if smoke:  # nothing is promised of tiny inputs
        case = replace(case, at_least={}, share_at_least=None)
    return cases.compare(name, case, read_bytes_per_s=read_bytes_per_s, rounds=3 if smoke else rounds)


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("ops", cases.SAYS, cases.COLUMNS, tuple(rows))


def _by_truth(function: Callable[..., Any], *args: Any) -> Array:
    with mf.backend("numpy"):
        return np.asarray(function(*args))


def _bind(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: function(*args)


def _first(result: Any) -> Array:
    return np.asarray(result[0])


def _count(number: int) -> str:
    return f"{number // M}M" if number >= M else f"{number // 1000}k" if number >= 1000 else str(number)


def _logits(records: int, classes: int) -> tuple[Array, Array]:
    """Logits as a trained classifier gives them: normal, the label's raised."""
    random = np.random.default_rng(0)
    labels = random.integers(classes, size=records)
    logits = random.standard_normal((records, classes), dtype=np.float32) * 2
    logits[np.arange(records), labels] += 5
    return logits, labels


def _digits() -> tuple[Array, Array]:
    records = mf.load("digits")
    return records.inputs().reshape(len(records), -1), records.y


def _bits(records: int, features: int, classes: int, share: float = 0.5) -> tuple[Array, Array]:
    x, labels = _sparse(records, features, classes, share)
    return (x != 0).astype(np.float32), labels


def _sparse(records: int, features: int, classes: int, share: float) -> tuple[Array, Array]:
    x, labels = _reals(records, features, classes)
    x[np.random.default_rng(1).random(x.shape) >= share] = 0
    return x, labels


def _reals(records: int, features: int, classes: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.standard_normal((records, features), dtype=np.float32), random.integers(classes, size=records)


def _phis(records: int, models: int) -> tuple[Array, Array, Array]:
    """A target's phi, the shadows' and their mask: every record IN half the models, phi one higher where IN."""
    random = np.random.default_rng(0)
    in_mask = random.permuted(np.arange(models)[:, None] % 2 == np.zeros(records), axis=0)
    shadow = random.standard_normal((models, records), dtype=np.float32) + in_mask
    return random.standard_normal(records, dtype=np.float32), shadow, in_mask


def _scores(count: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    is_member = random.random(count) < 0.5
    return random.standard_normal(count, dtype=np.float32) + is_member.astype(np.float32), is_member
