"""From the files that owners of data sets distribute to MMAction2's lists and a manifest."""

from amflow_mm.datasets.preparation.custom import SplitRule, make_shares, plan_custom
from amflow_mm.datasets.preparation.diving48 import plan_diving48
from amflow_mm.datasets.preparation.hmdb51 import plan_hmdb51
from amflow_mm.datasets.preparation.kinetics400 import plan_kinetics400
from amflow_mm.datasets.preparation.manifest import CHECKSUMS, read_manifest
from amflow_mm.datasets.preparation.smarthome import plan_smarthome
from amflow_mm.datasets.preparation.ssv2 import plan_ssv2
from amflow_mm.datasets.preparation.ucf101 import plan_ucf101
from amflow_mm.datasets.preparation.writing import ManifestOptions, write_dataset

__all__ = [
    "CHECKSUMS",
    "ManifestOptions",
    "SplitRule",
    "make_shares",
    "plan_custom",
    "plan_diving48",
    "plan_hmdb51",
    "plan_kinetics400",
    "plan_smarthome",
    "plan_ssv2",
    "plan_ucf101",
    "read_manifest",
    "write_dataset",
]
