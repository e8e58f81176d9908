"""Op types: which write variables, which pass a tensor on, which apply gradients."""

from __future__ import annotations

from functools import lru_cache
import re
from typing import Dict, FrozenSet, Optional


def _types(names: str) -> FrozenSet[str]:
    return frozenset(names.split())


REF_VARIABLES = frozenset(["Variable", "VariableV2", "AutoReloadVariable"])
RESOURCE_VARIABLES = frozenset(["VarHandleOp"])
VARIABLES = REF_VARIABLES | RESOURCE_VARIABLES

SWITCHES = frozenset(["Switch", "RefSwitch", "_SwitchN"])
SELECTS = frozenset(["Select", "SelectV2", "RefSelect"])
ENTERS = frozenset(["Enter", "RefEnter"])
EXITS = frozenset(["Exit", "RefExit"])
PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2"])
SAVES = frozenset(["SaveV2", "SaveSlices", "Save"])
RESTORES = frozenset(["RestoreV2", "RestoreSlice", "Restore"])

FUSED_NORMALIZATIONS = _types(
    """
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 _FusedBatchNormEx _MklFusedBatchNorm
    _MklFusedBatchNormV2 _MklFusedBatchNormV3
    """
)
ENGINE = "TRTEngineOp"  # a part of a graph that TensorRT compiled
OLD_NORMALIZATION = "BatchNormWithGlobalNormalization"  # TensorFlow 0.x; inference only

ASSIGNS = frozenset(["Assign", "AssignVariableOp"])
ADDITIONS = frozenset(["Add", "AddV2"])
DIVISIONS = frozenset(["Div", "DivNoNan", "RealDiv"])
# Ops between a mean over the batch and a moment (E[x^2] - E[x]^2, an average over replicas), and
# between a moment and the value that a moving average is given.
ARITHMETIC = _types(
    """
    Add AddN AddV2 CollectiveReduce CollectiveReduceV2 Div DivNoNan Maximum Minimum Mul
    NcclAllReduce Neg RealDiv Square Sub
    """
)

_WRITE = re.compile(
    r"""(Resource)?(Sparse)?Apply[A-Z]\w*
    | Assign(Add|Sub)?
    | Assign(Add|Sub)?VariableOp
    | (Resource)?Scatter(Nd)?(Add|Div|Max|Min|Mul|Sub|Update)
    | (Resource)?(StridedSliceAssign|CountUpTo)
    """,
    re.VERBOSE,
)
# Ops, besides writes and accumulators, that give values to what outlives the step, or raise.
_OUTLET = re.compile(
    r"""Queue(Enqueue|EnqueueMany)(V2)? | (Ordered)?(Map)?Stage | BarrierInsertMany
    | Stack(Push|PushV2) | (In|Out)feedEnqueue\w* | LookupTable(Insert|Import)(V2)?
    | Write\w*Summary | WriteFile | Save | SaveSlices | SaveV2
    | Print | PrintV2 | PyFunc | EagerPyFunc | MakeIterator
    | Assert | CheckNumerics(V2)?
    """,
    re.VERBOSE,
)
_ACCUMULATOR = re.compile(r"(Resource|Sparse)?AccumulatorApplyGradient")  # of SyncReplicasOptimizer
_OPTIMIZER = re.compile(r"(Resource)?(?:Sparse)?Apply([A-Z]\w*)")

# How many variables, its first inputs, the op of an optimizer writes; all others write one.
_OPTIMIZER_VARIABLES = {
    "AdaMax": 3,
    "Adadelta": 3,
    "Adagrad": 2,
    "AdagradDA": 3,
    "AdagradV2": 2,
    "Adam": 3,
    "AdamWithAmsgrad": 4,
    "AddSign": 2,
    "CenteredRMSProp": 4,
    "Ftrl": 3,
    "FtrlV2": 3,
    "KerasMomentum": 2,
    "Momentum": 2,
    "PowerSign": 2,
    "ProximalAdagrad": 2,
    "RMSProp": 3,
}

# The output arguments, in order, of ops whose outputs the analysis tells apart.
_OUTPUTS = {
    **dict.fromkeys(FUSED_NORMALIZATIONS, ("y", "batch_mean", "batch_variance")),
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
}

_TAKE_ONE = frozenset(["LogicalNot", "LoopCond", "Neg", "Rsqrt", "Sqrt"])
_TAKE_TWO = ADDITIONS | DIVISIONS | frozenset(["Maximum", "Mul", "Pow", "Sub"])

# Ops whose output is the buffer of their first input, or a view of it, never a copy.
FORWARDING = _types(
    """
    CheckNumerics Enter Exit ExpandDims Identity NextIteration PreventGradient RefEnter RefExit
    RefIdentity RefNextIteration RefSwitch Reshape Squeeze StopGradient Switch _SwitchN
    """
)
# Ops whose output is made of the elements of their first input, moved about or rounded.
MADE_OF_FIRST = FORWARDING | _types("BroadcastTo Cast Print ReadVariableOp Snapshot Tile Transpose")
# Ops whose output is made of all, or of one, of their inputs, without the one at this position.
MADE_OF_ALL_BUT: Dict[str, Optional[int]] = {
    "Merge": None,
    "Pack": None,
    "RefMerge": None,
    "Concat": 0,
    "ConcatV2": -1,
    **dict.fromkeys(SELECTS, 0),
}
_WITHOUT_GRADIENT = _types(
    """
    ArgMax ArgMin Ceil EagerPyFunc Equal Floor Greater GreaterEqual Less LessEqual NotEqual PyFunc
    PyFuncStateless Rint Round Sign Unique
    """
)
# Ops that take the shape of a tensor or wait for it, and do not pass its value on.
VALUELESS = _types("NoOp OnesLike Rank Shape ShapeN Size ZerosLike")


def least_inputs(op_type: str) -> int:
    """Return how many data inputs the analysis expects of an op of this type, at least."""
    if op_type in FUSED_NORMALIZATIONS:
        return 5
    if op_type in SELECTS:
        return 3
    if is_write(op_type):
        return 1 if op_type.endswith("CountUpTo") else max(2, written_inputs(op_type))
    if op_type in SWITCHES or op_type in _TAKE_TWO:
        return 2
    return 1 if op_type in MADE_OF_FIRST or op_type in _TAKE_ONE else 0


@lru_cache(maxsize=None)
def has_side_effect(op_type: str) -> bool:
    """Return whether ops of this type are run for more than their outputs.

    They write a variable, a queue, a table, a file or a summary, print, call Python or may raise.
    """
    return is_write(op_type) or is_accumulator(op_type) or _OUTLET.fullmatch(op_type) is not None


def has_no_gradient(op_type: str) -> bool:
    """Return whether TensorFlow knows no gradient of ops of this type; of StopGradient it does."""
    return op_type in _WITHOUT_GRADIENT or is_write(op_type)


@lru_cache(maxsize=None)
def is_write(op_type: str) -> bool:
    """Return whether ops of this type write variables."""
    return _WRITE.fullmatch(op_type) is not None


@lru_cache(maxsize=None)
def is_optimizer(op_type: str) -> bool:
    """Return whether ops of this type apply a gradient to a variable."""
    return _OPTIMIZER.fullmatch(op_type) is not None


def is_accumulator(op_type: str) -> bool:
    """Return whether ops of this type add a gradient to an accumulator, for another step."""
    return _ACCUMULATOR.fullmatch(op_type) is not None


@lru_cache(maxsize=None)
def written_inputs(op_type: str) -> int:
    """Return how many of the first inputs of a write are variables that it writes."""
    optimizer = _OPTIMIZER.fullmatch(op_type)
    return _OPTIMIZER_VARIABLES.get(optimizer.group(2), 1) if optimizer else 1


def writes_resources(op_type: str) -> bool:
    """Return whether a write takes resource handles; otherwise it takes and returns a ref."""
    return op_type.startswith("Resource") or op_type.endswith("VariableOp")


def output_port(op_type: str, argument: str, position: int) -> int:
    """Return the port of `node:argument:position`, the form of inputs in function bodies."""
    arguments = _OUTPUTS.get(op_type, ())
    return position + (arguments.index(argument) if argument in arguments else 0)
