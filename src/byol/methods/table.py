"""The table of methods: from a method's settings to the class that learns."""

from byol.config.methods import (
    AMDIMConfig,
    BYOLConfig,
    CMCConfig,
    ColorizationConfig,
    ContextConfig,
    CPCConfig,
    DeepClusterConfig,
    ExemplarConfig,
    InfoMinConfig,
    InfoNCEConfig,
    InpaintingConfig,
    InstDiscConfig,
    JigsawConfig,
    LocalAggregationConfig,
    MethodConfig,
    MoCoConfig,
    MultiCropConfig,
    PIRLConfig,
    RotationConfig,
    SelfLAConfig,
    SimCLRConfig,
    SimSiamConfig,
    SupervisedConfig,
    VAEConfig,
    VICRegConfig,
)
from byol.methods.amdim import AMDIM
from byol.methods.base import Method
from byol.methods.byol import BYOL
from byol.methods.cmc import CMC
from byol.methods.colorization import Colorization
from byol.methods.context import Context
from byol.methods.cpc import CPC
from byol.methods.deepcluster import DeepCluster
from byol.methods.exemplar import Exemplar
from byol.methods.infomin import InfoMin
from byol.methods.infonce import InfoNCE
from byol.methods.inpainting import Inpainting
from byol.methods.instdisc import InstDisc
from byol.methods.jigsaw import Jigsaw
from byol.methods.local_aggregation import LocalAggregation
from byol.methods.moco import MoCo
from byol.methods.multicrop import MultiCropBYOL
from byol.methods.pirl import PIRL
from byol.methods.rotation import Rotation
from byol.methods.selfla import SelfLA
from byol.methods.simclr import SimCLR
from byol.methods.simsiam import SimSiam
from byol.methods.supervised import Supervised
from byol.methods.vae import VAE
from byol.methods.vicreg import VICReg

METHODS: dict[type[MethodConfig], type[Method]] = {
    BYOLConfig: BYOL,
    InfoNCEConfig: InfoNCE,
    SimCLRConfig: SimCLR,
    MoCoConfig: MoCo,
    SupervisedConfig: Supervised,
    SimSiamConfig: SimSiam,
    VICRegConfig: VICReg,
    RotationConfig: Rotation,
    InstDiscConfig: InstDisc,
    MultiCropConfig: MultiCropBYOL,
    ExemplarConfig: Exemplar,
    JigsawConfig: Jigsaw,
    ContextConfig: Context,
    ColorizationConfig: Colorization,
    InpaintingConfig: Inpainting,
    PIRLConfig: PIRL,
    DeepClusterConfig: DeepCluster,
    InfoMinConfig: InfoMin,
    CMCConfig: CMC,
    SelfLAConfig: SelfLA,
    LocalAggregationConfig: LocalAggregation,
    VAEConfig: VAE,
    CPCConfig: CPC,
    AMDIMConfig: AMDIM,
}


def method_class(config: MethodConfig) -> type[Method]:
    """The method that some settings are of."""
    return METHODS[type(config)]
