"""Influence and gradient norms against analytic values, completeness and one record at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import miafast as mf
from miafast.attacks import ATTACKS
from miafast.whitebox import gradient_norms, internal_influence, last_layer_gradient_norm
from miafast.whitebox.straight import straight_part


def rectified(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)).eval()


def test_the_influence_of_a_linear_head_is_its_weights() -> None:
    head, z = nn.Linear(6, 4), torch.randn(5, 6)
    found = internal_influence(head, z)
    torch.testing.assert_close(found.chi, head.weight.detach().expand(5, 4, 6))
    assert found.nodes == 2 * 5


def test_the_influence_of_a_quadratic_head_is_its_gradient_half_way() -> None:
    torch.manual_seed(0)
    form, z, baseline = torch.randn(3, 6, 6), torch.randn(5, 6), torch.randn(6)
    form = form + form.transpose(1, 2)
    chi = internal_influence(lambda at: torch.einsum("pi,cij,pj->pc", at, form, at), z, baseline=baseline).chi
    expected = torch.einsum("cij,pj->pci", form, z + baseline)  # ∇ zᵀAz = 2Az, at (z + baseline) / 2
    torch.testing.assert_close(chi, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_influence_is_complete_to_1e_4(activation: type[nn.Module]) -> None:
    torch.manual_seed(1)
    head = nn.Sequential(nn.Linear(12, 30), activation(), nn.Linear(30, 20), activation(), nn.Linear(20, 3)).eval()
    z = 3 * torch.randn(40, 12)
    for baseline in (0.0, torch.randn(12)):
        found = internal_influence(head, z, baseline=baseline)
        error = found.residual(z, baseline).abs() / (found.at_z - found.at_baseline).abs().clamp_min(1.0)
        assert float(error.max()) < 1e-4


def test_influence_of_a_rectified_head_agrees_with_a_fine_riemann_sum() -> None:
    head, z = rectified(), 3 * torch.randn(4, 12)
    chi = internal_influence(head, z).chi
    shares = (torch.arange(20_000) + 0.5) / 20_000
    for record in range(4):
        point = (shares[:, None] * z[record]).requires_grad_()
        (gradient,) = torch.autograd.grad(head(point)[:, 1].sum(), point)
        torch.testing.assert_close(chi[record, 1], gradient.mean(dim=0), rtol=0, atol=2e-3)


def test_influence_does_not_depend_on_who_else_is_asked_or_how_many_at_once() -> None:
    head, z = rectified(), torch.randn(9, 12)
    chi = internal_influence(head, z).chi
    torch.testing.assert_close(internal_influence(head, z[4:5]).chi[0], chi[4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(internal_influence(head, z, batch=2).chi, chi, rtol=1e-4, atol=1e-5)
    alone = internal_influence(head, z, classes=[2]).chi[:, 0]  # on a mesh of its own: equal to the tolerance
    torch.testing.assert_close(alone, chi[:, 2], rtol=0, atol=3e-3)


class Maps(nn.Module):
    """What follows a convolution in a LeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.BatchNorm2d(3), nn.Linear(27, 14), nn.Linear(14, 4)
        self.norm.running_mean += 0.3

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        z = torch.max_pool2d(torch.relu(self.norm(z)), 2).flatten(1)
        return self.fc2(torch.relu(self.fc1(z)))


@pytest.mark.parametrize("kind", ["maps", "without norm", "perceptron", "linear"])
@pytest.mark.parametrize("baseline", [0.0, 0.5])
def test_influence_taken_behind_straight_layers_is_that_of_the_whole_head(kind: str, baseline: float) -> None:
    torch.manual_seed(3)
    maps = Maps().eval()
    plain = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), maps.fc1, nn.ReLU(), maps.fc2).eval()
    head = {"maps": maps, "without norm": plain, "perceptron": rectified(), "linear": nn.Linear(6, 4)}[kind]
    z = torch.randn(7, *{"perceptron": (12,), "linear": (6,)}.get(kind, (3, 6, 6)))
    split = straight_part(head, from_zero=baseline == 0.0)
    assert (split is None) == (kind == "without norm" and baseline > 0)
    if split:
        torch.testing.assert_close(split[1](split[0](z)), head(z))
    found = internal_influence(head, z, baseline=baseline)
    whole = internal_influence(lambda at: head(at), z, baseline=baseline)  # which nothing can be read from
    torch.testing.assert_close(found.chi, whole.chi, rtol=0, atol=3e-3)
    assert float(found.residual(z, baseline).abs().max()) < 2e-4


def test_layers_that_are_not_straight_are_left_to_the_rest() -> None:
    class Around(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.relu(z) + z

    assert straight_part(nn.Sequential(nn.Tanh(), nn.Linear(3, 2)), from_zero=True) is None
    assert straight_part(Around(), from_zero=True) is None
    first, rest = straight_part(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), from_zero=True)
    kinds = [[type(each) for each in part.modules() if not list(each.children())] for part in (first, rest)]
    assert kinds == [[nn.Linear], [nn.ReLU, nn.Linear]]  # the first bias moves the segment away from 0
    assert straight_part(nn.BatchNorm1d(3).train(), from_zero=True) is None


def test_a_looser_tolerance_takes_fewer_nodes() -> None:
    head, z = rectified(), torch.randn(20, 12)
    assert internal_influence(head, z, tolerance=1e-2).nodes < internal_influence(head, z, tolerance=1e-4).nodes


@pytest.mark.parametrize(
    ("options", "says"),
    [({"tolerance": 0.0}, "tolerance=0.0"), ({"classes": [3]}, r"classes=\[3\]"), ({"classes": []}, "class indices")],
)
def test_mistakes_are_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        internal_influence(rectified(), torch.randn(2, 12), **options)


class Mixed(nn.Module):
    """Convolutions with and without groups, a norm, a layer over places, and a linear end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, groups=2, bias=False)
        self.norm, self.places, self.last = nn.GroupNorm(2, 4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.grouped(torch.relu(self.conv(x))))
        return self.last(torch.tanh(self.places(x.flatten(2).transpose(1, 2))).mean(dim=1))


def test_ghost_norms_are_those_of_one_record_at_a_time() -> None:
    torch.manual_seed(0)
    model, x, y = Mixed(), torch.randn(6, 2, 7, 7), torch.tensor([0, 1, 2, 0, 1, 2])
    norms = gradient_norms(model, x, y)
    assert list(norms) == ["conv", "grouped", "norm", "places", "last"]
    for record in range(6):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[record : record + 1]), y[record : record + 1]).backward()
        for layer, found in norms.items():
            own = model.get_submodule(layer).parameters()
            expected = torch.sqrt(sum(each.grad.square().sum() for each in own))
            torch.testing.assert_close(found[record], expected, rtol=1e-4, atol=1e-6)
    assert list(gradient_norms(model, x, y, layers=["last"])) == ["last"]
    with pytest.raises(ValueError, match="layers that have: conv, grouped, norm, places, last"):
        gradient_norms(model, x, y, layers=["fc9"])


def test_the_last_layers_norm_needs_no_backward() -> None:
    torch.manual_seed(0)
    body, last = nn.Sequential(nn.Linear(8, 6), nn.ReLU()), nn.Linear(6, 4)
    x, y = torch.randn(10, 8), torch.arange(10) % 4
    expected = gradient_norms(nn.Sequential(body, last), x, y, layers=["1"])["1"].detach().numpy()
    features = body(x).detach()
    found = last_layer_gradient_norm(features.numpy(), last(features).detach().numpy(), y.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    sure = last_layer_gradient_norm(np.ones((1, 1)), np.array([[60.0, 0.0]]), np.array([0]), bias=False)
    np.testing.assert_allclose(sure, np.sqrt(2) * np.exp(-60.0), rtol=1e-12)  # where 1 - p_y would round to 0


def test_gradient_norms_are_a_signal_for_lira() -> None:
    from miafast.shadow import train_modules

    rng = np.random.default_rng(0)
    records = mf.Records(rng.normal(size=(120, 20)), rng.integers(3, size=120), classes=3)
    in_mask = mf.membership(120, 8, seed=0)
    recipe = mf.Recipe(hidden=(16,), epochs=100, batch_size=16)
    models = train_modules(recipe, records, in_mask, models=range(8), seed=0)
    attack = mf.whitebox.GradientNorm()
    signals = np.stack([attack.signal(model, records) for model in models])
    assert signals.dtype == np.float32
    for scores in (attack.score_all(signals), mf.LiRA().score_all(signals, in_mask)):
        assert mf.roc(scores.ravel(), in_mask.ravel()).auc > 0.6
    np.testing.assert_array_equal(attack.score(signals[0]), attack.score_all(signals)[0])
    last = mf.whitebox.GradientNorm(layers=("3",))
    asked = {"attack": [ATTACKS["gradient-norm"](), last], "shadows": 8, "seed": 0}
    report = mf.audit(records, recipe, target=models[0], is_member=in_mask[0], membership=in_mask, **asked)
    np.testing.assert_allclose(report.signals.named("gradient_norm")[:8, :, 0], signals, atol=1e-4)
    np.testing.assert_array_equal(report.signals.named("gradient_norm")[8, :, 0], signals[0])
    np.testing.assert_allclose(report.results[1].scores, last.signal(models[0], records), rtol=1e-6)


def test_gradients_are_refused_before_training() -> None:
    records = mf.Records(np.zeros((40, 3)), np.arange(40) % 2, classes=2)
    recipe, is_member = mf.Recipe(hidden=(4,), batch_size=8), np.arange(40) < 20
    with pytest.raises(ValueError, match="'fc9' has no parameters of its own; layers that have: 1, 3"):
        mf.audit(records, recipe, attack=mf.whitebox.GradientNorm(layers=("fc9",)), shadows=8)
    asked = {"attack": mf.whitebox.GradientNorm(), "is_member": is_member, "shadows": 8}
    with pytest.raises(TypeError, match="gradient_norm looks inside models, and the target model is no"):
        mf.audit(records, recipe, target=lambda x: x[:, :2], **asked)
    with pytest.raises(ValueError, match="logits, from which gradient_norm cannot be had; give the model itself"):
        mf.audit(records, recipe, target=np.zeros((40, 2), np.float32), **asked)
