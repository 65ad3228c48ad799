"""Feature maps and decoders: shapes that are known, and one that repeats."""

import pytest
import torch

from byol.config.encoder import EncoderSpec
from byol.config.run import PretrainConfig
from byol.config.values import replace
from byol.encoders.build import make_encoder
from byol.errors import UserError
from byol.methods.decoder import Decoder
from byol.methods.maps import check_maps, early_map_shape, feature_map, features_and_maps, map_shape


@pytest.mark.parametrize(
    ("spec", "last", "before"),
    [
        (EncoderSpec(name="resnet50"), (2048, 7), (1024, 14)),
        (EncoderSpec(name="resnet18", stem="small", width=0.5), (256, 28), (128, 56)),
        (EncoderSpec(name="mobilenetv3_small_050"), (288, 7), None),
        (EncoderSpec(name="vit_tiny_patch16_224"), None, None),
    ],
)
def test_shapes_of_maps(spec: EncoderSpec, last: tuple[int, int] | None, before: tuple[int, int] | None) -> None:
    assert map_shape(spec, 224) == last
    if before is not None:
        assert early_map_shape(spec, 224) == before


def test_maps_of_a_swin_transformer_have_their_channels_first() -> None:
    assert map_shape(EncoderSpec(name="swin_tiny_patch4_window7_224"), 224) == (768, 7)


def test_the_mean_of_the_last_map_is_the_features() -> None:
    torch.manual_seed(0)
    encoder = make_encoder("resnet10", width=0.25).eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(feature_map(encoder, images).mean((2, 3)), encoder(images))
    features, before = features_and_maps(encoder, images)
    torch.testing.assert_close(features, encoder(images))
    torch.testing.assert_close(encoder.layer4(before).mean((2, 3)), encoder(images))


def test_an_encoder_without_maps_is_refused() -> None:
    config = replace(PretrainConfig(), method="rotation", encoder="vit_tiny_patch16_224")
    with pytest.raises(UserError, match=r"needs an encoder with feature maps, but 'vit_tiny_patch16_224' has none"):
        check_maps(config, map_shape(config.encoder, 224))


@pytest.mark.parametrize(("side", "size", "blocks"), [(7, 224, 5), (1, 16, 4), (2, 10, 3), (8, 8, 1)])
def test_a_decoder_ends_at_its_size(side: int, size: int, blocks: int) -> None:
    decoder = Decoder(24, side, 5, size, width=64)
    assert sum(isinstance(layer, torch.nn.Upsample) for layer in decoder) == blocks
    assert decoder(torch.randn(2, 24, side, side)).shape == (2, 5, size, size)
