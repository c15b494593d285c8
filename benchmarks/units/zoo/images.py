"""Models of timm, torchvision and diffusers with random weights; nothing is downloaded."""

import functools

import torch

from fedma.seeds import generator

SIZES = (64, 96, 128, 224)
TORCHVISION = """
resnet18 vgg11_bn densenet121 mobilenet_v3_small efficientnet_b0 shufflenet_v2_x0_5 regnet_y_400mf convnext_tiny
vit_b_16 swin_t swin_v2_t squeezenet1_0 mnasnet0_5
""".split()


@functools.cache
def with_torchvision():
    """Lets torchvision be imported beside a torch that it was not built for: its own operators stay unused."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    return library


def image_model(name):
    """A model of timm at the smallest of some sizes that it runs on, and two images."""
    import timm

    def tried(size, more):
        model = timm.create_model(name, pretrained=False, num_classes=10, **more).eval()
        images = torch.randn(2, model.pretrained_cfg["input_size"][0], size, size, generator=generator(0, "zoo", name))
        with torch.no_grad():
            model(images)
        return model, images

    return first_that_runs(functools.partial(tried, size, more) for size in SIZES for more in ({"img_size": size}, {}))


def first_that_runs(ways):
    """What the first of several ways gives that does not fail."""
    last = None
    for way in ways:
        try:
            return way()
        except Exception as error:
            last = error
    raise last


def vision_model(name):
    """A model of torchvision and two images."""
    import torchvision

    more = {"image_size": 64} if name == "vit_b_16" else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **more)
    return model, torch.randn(2, 3, 64, 64, generator=generator(0, "zoo", name))


class Sample(torch.nn.Module):
    """The tensor in the answer of a model of diffusers."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args):
        return self.model(*args).sample


def autoencoder():
    """A variational autoencoder, half of whose latent channels are means, half variances."""
    from diffusers import AutoencoderKL

    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    model = AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, **kinds)
    return Sample(model), torch.randn(2, 3, 32, 32, generator=generator(0, "zoo", "autoencoder"))


def unet():
    """A U-Net of the kind that takes noise away."""
    from diffusers import UNet2DModel

    kinds = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    model = UNet2DModel(sample_size=16, block_out_channels=(8, 16), norm_num_groups=4, attention_head_dim=4, **kinds)
    return Sample(model), (torch.randn(2, 3, 16, 16, generator=generator(0, "zoo", "unet")), torch.tensor([3, 5]))


MODELS = {"autoencoder": autoencoder, "unet": unet} | {
    name: functools.partial(vision_model, name) for name in TORCHVISION
}
