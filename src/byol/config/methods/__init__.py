"""The settings of each pretraining method: one dataclass per method, and the table of all of them.

`--method NAME` chooses one; its fields are `--method.x`. What `auto` and the loop must know without building a network
stands here; the methods themselves are in `byol.methods`.
"""

from byol.config.methods.agreement import BYOLConfig as BYOLConfig
from byol.config.methods.agreement import MultiCropConfig as MultiCropConfig
from byol.config.methods.agreement import SimSiamConfig as SimSiamConfig
from byol.config.methods.agreement import VICRegConfig as VICRegConfig
from byol.config.methods.base import EMAConfig as EMAConfig
from byol.config.methods.base import MethodConfig as MethodConfig
from byol.config.methods.base import Normalization as Normalization
from byol.config.methods.base import PredictorConfig as PredictorConfig
from byol.config.methods.base import ProjectorConfig as ProjectorConfig
from byol.config.methods.base import TargetKind as TargetKind
from byol.config.methods.clusters import DeepClusterConfig as DeepClusterConfig
from byol.config.methods.clusters import LocalAggregationConfig as LocalAggregationConfig
from byol.config.methods.clusters import SelfLAConfig as SelfLAConfig
from byol.config.methods.contrast import AMDIMConfig as AMDIMConfig
from byol.config.methods.contrast import CMCConfig as CMCConfig
from byol.config.methods.contrast import CPCConfig as CPCConfig
from byol.config.methods.contrast import InfoMinConfig as InfoMinConfig
from byol.config.methods.contrast import InfoNCEConfig as InfoNCEConfig
from byol.config.methods.contrast import InstDiscConfig as InstDiscConfig
from byol.config.methods.contrast import MoCoConfig as MoCoConfig
from byol.config.methods.contrast import PIRLConfig as PIRLConfig
from byol.config.methods.contrast import SimCLRConfig as SimCLRConfig
from byol.config.methods.pretext import ColorizationConfig as ColorizationConfig
from byol.config.methods.pretext import ContextConfig as ContextConfig
from byol.config.methods.pretext import ExemplarConfig as ExemplarConfig
from byol.config.methods.pretext import InpaintingConfig as InpaintingConfig
from byol.config.methods.pretext import JigsawConfig as JigsawConfig
from byol.config.methods.pretext import RotationConfig as RotationConfig
from byol.config.methods.pretext import SupervisedConfig as SupervisedConfig
from byol.config.methods.pretext import VAEConfig as VAEConfig

AnyMethodConfig = (
    BYOLConfig
    | InfoNCEConfig
    | SimCLRConfig
    | MoCoConfig
    | SupervisedConfig
    | SimSiamConfig
    | VICRegConfig
    | RotationConfig
    | InstDiscConfig
    | MultiCropConfig
    | ExemplarConfig
    | JigsawConfig
    | ContextConfig
    | ColorizationConfig
    | InpaintingConfig
    | PIRLConfig
    | DeepClusterConfig
    | InfoMinConfig
    | CMCConfig
    | SelfLAConfig
    | LocalAggregationConfig
    | VAEConfig
    | CPCConfig
    | AMDIMConfig
)
"""The table of methods."""
