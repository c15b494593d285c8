"""The laws on models of torchvision and timm, where these are installed: `pytest -m zoo`."""

import importlib

import pytest
import torch

from units.laws import Laws

pytestmark = pytest.mark.zoo
TORCHVISION = """
resnet18 resnet50 vgg11_bn densenet121 mobilenet_v3_small efficientnet_b0 shufflenet_v2_x0_5 regnet_y_400mf
resnext50_32x4d convnext_tiny vit_b_16 swin_t swin_v2_t squeezenet1_0 mnasnet0_5
"""
TIMM = "vit_tiny_patch16_224 mixer_s16_224 resmlp_12_224 convmixer_768_32 efficientformer_l1"
SIZES = {"vit_b_16": {"image_size": 64}, "vit_tiny_patch16_224": {"img_size": 64}}


def built(package, name):
    module = pytest.importorskip(package, reason=f"needs {package}")
    if package == "torchvision":
        models = importlib.import_module("torchvision.models")
        return getattr(models, name)(weights=None, **SIZES.get(name, {}))
    return module.create_model(name, pretrained=False, **SIZES.get(name, {}))


CASES = [("torchvision", name) for name in TORCHVISION.split()] + [("timm", name) for name in TIMM.split()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("package", "name"), CASES)
def test_laws_hold_for_public_models(package, name):
    model = built(package, name)
    size = 224 if package == "timm" and name not in SIZES else 64
    graph = Laws(model.eval(), torch.randn(2, 3, size, size), tolerance=1e-8).all()
    assert graph.coverage > 0.9
