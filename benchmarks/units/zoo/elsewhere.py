"""Image models of timm, and a few models of other libraries, with random weights."""

import torch

from fedma.seeds import generator

SIZES = (64, 96, 128, 224)


def with_torchvision():
    """Lets torchvision be imported beside a torch that it was not built for: its own operators stay unused."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return library


def image_model(name):
    """A model of timm at the smallest of some sizes that it runs on, and two images."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import sys

        for module in [module for module in sys.modules if module.startswith("torchvision")]:
            del sys.modules[module]
        image_model.kept = with_torchvision()
    import timm

    for size in SIZES:
        for more in ({"img_size": size}, {}):
            try:
                model = timm.create_model(name, pretrained=False, num_classes=10, **more).eval()
                images = torch.randn(2, model.pretrained_cfg["input_size"][0], size, size, generator=generator(0, "zoo", name))
                with torch.no_grad():
                    model(images)
                return model, images
            except Exception as error:
                last = error
    raise last


MODELS = {}
