"""One small encoder of every family of timm, from images to features: `pytest -m slow tests/test_families.py`."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from timm.models import list_modules
from torch import nn

import byol
from byol.data.sources.open import TensorSource
from byol.encoders.calibrate import calibrate_batch_norm
from byol.encoders.file import read_encoder
from byol.methods.byol import BYOL

MEMBERS = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet26t",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_256",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_maxvit",
    "metaformer": "caformer_s18",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_xs_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetv_040",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
"""The smallest of each of timm 1.0.31's families, or nearly so."""
TOO_LARGE = {"deepseek_vit": "its only member that gives vectors has 412 million weights"}


def test_there_is_one_of_every_family() -> None:
    known = {module for module in list_modules() if timm.list_models(module=module)}
    missing = known - set(MEMBERS) - set(TOO_LARGE)
    assert not missing or timm.__version__ != "1.0.31", f"give a small member of {sorted(missing)}"
    for module in known & set(MEMBERS):
        assert MEMBERS[module] in timm.list_models(module=module) or timm.__version__ != "1.0.31"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what timm and PyTorch deprecate is theirs to say
@pytest.mark.parametrize("name", MEMBERS.values())
def test_a_family_from_images_to_features(name: str, tmp_path: Path) -> None:
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    generator = torch.Generator().manual_seed(0)
    images = TensorSource(torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=generator))
    settings = {"epochs": 1, "batch_size": 4, "method__hidden": 32, "method__output": 16, "device": "cpu"}
    out = byol.pretrain(images, encoder=name, precision="float32", out=tmp_path / "run", quiet=True, **settings)
    assert out.verdict is not None
    encoder, card = read_encoder(out.folder)
    size = card.image_size
    batch = torch.randn(4, 3, size, size, generator=generator)
    with torch.no_grad():
        features = encoder(batch)
        again = byol.load_encoder(out.folder)(batch)
    assert features.shape == (4, card.features)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(again, features, rtol=1e-5, atol=1e-6)
    calibrate_batch_norm(encoder, [batch])  # two updates leave its averages near where they began
    with torch.no_grad():
        assert len({tuple(row) for row in encoder(batch).tolist()}) == 4, "images differ in their features"
    method = BYOL(copy.deepcopy(encoder), nn.Identity(), nn.Identity()).train()
    with torch.no_grad():
        once, twice = (method.target_encoder(batch) for _ in range(2))
    assert torch.equal(once, twice), "the target drops nothing"
