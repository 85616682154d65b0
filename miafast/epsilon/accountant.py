"""The upper bound that theory gives, to stand beside what an audit finds: Google's dp-accounting keeps the books."""

from __future__ import annotations


def epsilon_upper_bound(noise_multiplier: float, *, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon at ``delta`` of DP-SGD with Poisson sampling, when one record is added or left out.

    noise_multiplier: standard deviation of the noise over the clipping norm, > 0.
    sample_rate: the chance of a record to be in a batch, in (0, 1]. steps: how many batches.

    Raises ValueError for values out of range, ModuleNotFoundError without dp-accounting.

    Source: Abadi et al. 2016, "Deep Learning with Differential Privacy"; privacy-loss distributions of Koskela et al.
    2020, as in dp-accounting's ``PLDAccountant``.

    >>> round(epsilon_upper_bound(1.0, sample_rate=1.0, steps=1, delta=1e-5), 2)           # doctest: +SKIP
    4.38
    """
    if not (noise_multiplier > 0 and 0 < sample_rate <= 1 and steps >= 1 and 0 < delta < 1):
        raise ValueError(
            f"noise_multiplier={noise_multiplier}, sample_rate={sample_rate}, steps={steps}, delta={delta}; give noise "
            "> 0, a rate in (0, 1], at least one step and delta between 0 and 1."
        )
    try:
        import dp_accounting as dp
        from dp_accounting import pld
    except ModuleNotFoundError as error:
        if error.name != "dp_accounting":
            raise
        raise ModuleNotFoundError("the upper bound needs dp-accounting: pip install 'miafast[dp]'.") from None
    accountant = pld.PLDAccountant(neighboring_relation=dp.NeighboringRelation.ADD_OR_REMOVE_ONE)
    noise = dp.GaussianDpEvent(noise_multiplier)
    accountant.compose(noise if sample_rate == 1 else dp.PoissonSampledDpEvent(sample_rate, noise), steps)
    return float(accountant.get_epsilon(delta))
