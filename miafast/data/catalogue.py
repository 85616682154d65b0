"""The data sets that have a name: what they are, where to get them, on what terms, in which files they come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from miafast.data import class_names as names, forms, uci
from miafast.data.cifar import Layout
from miafast.data.forms import Form


@dataclass(frozen=True)
class DataSet:
    """What is known about a named data set."""

    about: str
    classes: int
    records: Mapping[str, int]  # published number of records by part, "all" included
    source: str
    terms: str
    forms: tuple[Form, ...] = ()  # none: it ships with scikit-learn
    folders: tuple[str, ...] = ()  # where files lie below data_dir, besides data_dir itself and the folder of its name
    class_names: tuple[str, ...] | None = None
    scale: float | None = None
    shift: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)  # a file that must not be read -> what to do instead
    coarse: DataSet | None = None  # the same inputs with label="coarse"


_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html: the binary version, "
_CIFAR_TERMS = "no explicit licence; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_SHOKRI = "https://github.com/privacytrustlab/datasets: "
_UCI_TERMS = "CC BY 4.0 by its page at the UCI repository; look there before passing it on"
_SKLEARN = "ships with scikit-learn: pip install scikit-learn"
_SIXTY = {"all": 60_000, "train": 50_000, "test": 10_000}
_BATCHES = tuple(f"data_batch_{each}" for each in range(1, 6))


def _cifar100(layout: Layout, classes: int, class_names: tuple[str, ...], coarse: DataSet | None = None) -> DataSet:
    pieces = tuple(f"train_{each}_of_5" for each in range(1, 6))
    return DataSet(
        about="60,000 colour images of 32 x 32, 100 classes (20 with label='coarse')",
        classes=classes,
        records=_SIXTY,
        source=_CIFAR + "cifar-100-binary.tar.gz",
        terms=_CIFAR_TERMS,
        forms=forms.cifar_forms("cifar-100-binary.tar.gz", ("train",), ("test",), pieces, layout),
        folders=("cifar-100-binary", "cifar100/cifar-100-binary", "cifar-100-python"),
        class_names=class_names,
        refused=dict.fromkeys(("train", "cifar-100-python.tar.gz"), "cifar-100-binary.tar.gz"),
        coarse=coarse,
    )


SETS: dict[str, DataSet] = {
    "digits": DataSet(
        about="1,797 images of 8 x 8 as 64 features in [0, 1], 10 classes",
        classes=10,
        records={"all": 1797},
        source=_SKLEARN,
        terms=_UCI_TERMS,
        class_names=names.DIGITS,
        scale=1 / 16,
    ),
    "breast_cancer": DataSet(
        about="569 x 30 standardised numbers, 2 classes",
        classes=2,
        records={"all": 569},
        source=_SKLEARN,
        terms=_UCI_TERMS,
        class_names=("malignant", "benign"),
    ),
    "wine": DataSet(
        about="178 x 13 standardised numbers, 3 classes",
        classes=3,
        records={"all": 178},
        source=_SKLEARN,
        terms=_UCI_TERMS,
        class_names=("class_0", "class_1", "class_2"),
    ),
    "location30": DataSet(
        about="5,010 x 446 binary features, 30 classes (Shokri et al. 2017)",
        classes=30,
        records={"all": 5010},
        source=_SHOKRI + "dataset_location.tgz",
        terms="no licence stated; derived from Foursquare check-ins (Yang et al. 2016), for research",
        forms=(
            forms.arrays_in_npz("location30.npz", 30),
            forms.zeros_and_ones("dataset_location.tgz", "bangkok"),
            forms.zeros_and_ones("bangkok", "bangkok"),
        ),
        folders=("location", "dataset_location"),
    ),
    "purchase100": DataSet(
        about="197,324 x 600 binary features, 100 classes (Shokri et al. 2017)",
        classes=100,
        records={"all": 197_324},
        source=_SHOKRI + "dataset_purchase.tgz",
        terms="no licence stated; derived from Kaggle's Acquire Valued Shoppers challenge, for research",
        forms=(
            forms.arrays_in_npz("purchase100.npz", 100),
            forms.zeros_and_ones("dataset_purchase.tgz", "dataset_purchase"),
            forms.zeros_and_ones("dataset_purchase", "dataset_purchase"),
        ),
        folders=("purchase",),
    ),
    "texas100": DataSet(
        about="67,330 x 6,169 binary features, 100 classes (Shokri et al. 2017)",
        classes=100,
        records={"all": 67_330},
        source=_SHOKRI + "dataset_texas.tgz",
        terms="no licence stated; derived from the Texas hospital discharge public use file, for research",
        forms=(forms.arrays_in_npz("texas100.npz", 100), *forms.texas()),
        folders=("texas", "texas/100", "texas100/texas/100"),
    ),
    "mnist": DataSet(
        about="70,000 grey images of 28 x 28, 10 classes",
        classes=10,
        records={"all": 70_000, "train": 60_000, "test": 10_000},
        source="https://ossci-datasets.s3.amazonaws.com/mnist/: the four .gz files",
        terms="CC BY-SA 3.0, LeCun and Cortes",
        forms=(forms.mnist(),),
        folders=("MNIST/raw", "mnist/MNIST/raw", "raw"),
        class_names=names.DIGITS,
    ),
    "cifar10": DataSet(
        about="60,000 colour images of 32 x 32, 10 classes",
        classes=10,
        records=_SIXTY,
        source=_CIFAR + "cifar-10-binary.tar.gz",
        terms=_CIFAR_TERMS,
        forms=forms.cifar_forms("cifar-10-binary.tar.gz", _BATCHES, ("test_batch",), _BATCHES, Layout(1, 0, "labels")),
        folders=("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar-10-batches-py"),
        class_names=names.CIFAR10,
        refused=dict.fromkeys((*_BATCHES, "test_batch", "cifar-10-python.tar.gz"), "cifar-10-binary.tar.gz"),
    ),
    "cifar100": _cifar100(
        Layout(2, 1, "fine_labels"),
        100,
        names.CIFAR100,
        coarse=_cifar100(Layout(2, 0, "coarse_labels"), 20, names.CIFAR100_COARSE),
    ),
    "adult": DataSet(
        about="48,842 x 108 features (6 numbers standardised, 8 columns one-hot), 2 classes",
        classes=2,
        records={"all": 48_842, "train": 32_561, "test": 16_281},
        source="https://archive.ics.uci.edu/dataset/2/adult",
        terms=_UCI_TERMS,
        forms=(forms.adult(),),
        class_names=("<=50K", ">50K"),
    ),
    "pima": DataSet(
        about="768 x 8 standardised numbers, 2 classes",
        classes=2,
        records={"all": 768},
        source="https://www.kaggle.com/datasets/uciml/pima-indians-diabetes-database",
        terms="CC0 by its page at Kaggle; look there before passing it on",
        forms=tuple(
            forms.one_file(each, uci.pima)
            for each in ("pima-indians-diabetes.csv", "pima-indians-diabetes.data.csv", "diabetes.csv", "pima.csv")
        ),
        class_names=("no diabetes", "diabetes"),
    ),
    "hepatitis": DataSet(
        about="155 x 19 standardised numbers, missing ones filled with the column's lower median, 2 classes",
        classes=2,
        records={"all": 155},
        source="https://archive.ics.uci.edu/dataset/46/hepatitis",
        terms=_UCI_TERMS,
        forms=(forms.one_file("hepatitis.data", uci.hepatitis),),
        class_names=("die", "live"),
    ),
    "german_credit": DataSet(
        about="1,000 x 61 features (7 numbers standardised, 13 columns one-hot), 2 classes",
        classes=2,
        records={"all": 1000},
        source="https://archive.ics.uci.edu/dataset/144/statlog+german+credit+data",
        terms=_UCI_TERMS,
        forms=tuple(forms.one_file(each, uci.german) for each in ("german.data", "german.data-numeric")),
        folders=("german",),
        class_names=("good", "bad"),
    ),
    "lfw": DataSet(
        about="1,288 grey images of 50 x 37, the 7 people with at least 70 pictures",
        classes=7,
        records={"all": 1288},
        source="sklearn.datasets.fetch_lfw_people(min_faces_per_person=70), saved as lfw.npz with x=images, y=target",
        terms="no explicit licence; a research benchmark of photographs of real, named people",
        forms=(forms.lfw("lfw_people_min70.npz"), forms.lfw("lfw.npz")),
        class_names=names.LFW,
        scale=4.0,
        shift=-2.0,
    ),
}
