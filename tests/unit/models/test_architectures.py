import pytest
import torch

from convoy.models import ARCHITECTURES, drop_auxiliary
from tests.harness.counts import count_macs, count_parameters

# Parameters in inference, those of heads that exist for training only, and multiply-accumulates
# for one image of the size that the network was designed for.
TOTALS = {
    "lenet5": (61_706, 0, 416_520),
    "alexnet": (62_378_344, 0, 1_135_256_096),
    "alexnet_owt": (61_100_840, 0, 714_188_480),
    "bn_alexnet": (61_119_528, 0, 714_188_480),
    "vgg11": (132_863_336, 0, 7_609_090_048),
    "vgg13": (133_047_848, 0, 11_308_466_176),
    "vgg16": (138_357_544, 0, 15_470_264_320),
    "vgg19": (143_667_240, 0, 19_632_062_464),
    "vgg11_bn": (132_868_840, 0, 7_609_090_048),
    "vgg13_bn": (133_053_736, 0, 11_308_466_176),
    "vgg16_bn": (138_365_992, 0, 15_470_264_320),
    "vgg19_bn": (143_678_248, 0, 19_632_062_464),
    "nin": (7_595_176, 0, 1_100_188_800),
    "bn_nin": (7_605_688, 0, 1_100_188_800),
    "nin_cifar": (966_986, 0, 222_486_528),
    "googlenet": (6_998_552, 6_379_728, 1_582_671_872),
    "googlenet_naive": (97_526_008, 0, 12_568_061_056),
    "googlenet_tv": (6_624_904, 6_379_984, 1_498_376_192),
    "resnet18": (11_689_512, 0, 1_814_073_344),
    "resnet34": (21_797_672, 0, 3_663_761_408),
    "resnet50": (25_557_032, 0, 4_089_184_256),
    "resnet101": (44_549_160, 0, 7_801_405_440),
    "resnet152": (60_192_808, 0, 11_513_626_624),
    "resnet50_v1": (25_557_032, 0, 3_857_973_248),
    "resnet101_v1": (44_549_160, 0, 7_570_194_432),
    "resnet152_v1": (60_192_808, 0, 11_282_415_616),
    "plain18": (11_515_688, 0, 1_794_805_760),
    "plain34": (21_623_848, 0, 3_644_493_824),
    "resnet20": (269_722, 0, 40_551_040),
    "resnet56": (853_018, 0, 125_485_696),
    "resnet110": (1_727_962, 0, 252_887_680),
    "plain20": (269_722, 0, 40_551_040),
    "plain56": (853_018, 0, 125_485_696),
    "inception_v3": (23_834_568, 3_326_696, 5_713_216_096),
    "inception_v4": (42_679_816, 0, 12_253_974_624),
    "inception_resnet_v2": (55_843_464, 0, 13_155_794_016),
}


def test_every_architecture_has_its_totals() -> None:
    """
    No network goes uncounted.
    """
    assert set(TOTALS) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_totals(name: str) -> None:
    """
    Parameters and multiply-accumulates are those of the papers' tables and of public weights.
    """
    parameters, auxiliary, macs = TOTALS[name]
    architecture = ARCHITECTURES[name]
    side = architecture.input_px
    with torch.device("meta"):  # shapes without numbers
        network = architecture.build().eval()
        assert count_parameters(network) == parameters + auxiliary
        assert count_macs(network, (architecture.channels, side, side)) == macs
        drop_auxiliary(network)
        assert count_parameters(network) == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_smallest_input(name: str) -> None:
    """
    Each network takes images of the side that it declares, in training and in use, with any
    number of classes.
    """
    architecture = ARCHITECTURES[name]
    side = architecture.min_px
    with torch.device("meta"):
        network = architecture.build(num_classes=3)
        images = torch.zeros(2, architecture.channels, side, side)
        outputs = network.train()(images)
        assert isinstance(outputs, tuple) == (TOTALS[name][1] > 0)
        for logits in outputs if isinstance(outputs, tuple) else (outputs,):
            assert logits.shape == (2, 3)
        assert network.eval()(images).shape == (2, 3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_source(name: str) -> None:
    """
    Each network says which paper it is from.
    """
    assert "19" in ARCHITECTURES[name].source or "20" in ARCHITECTURES[name].source
