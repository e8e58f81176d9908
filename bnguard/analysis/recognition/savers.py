"""Which variables the Saver of a graph saves, and under which names."""

from __future__ import annotations

from typing import Dict, List, Optional, Set

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import ARITHMETIC, SAVES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import PARTITION

_FIRST_TENSOR = {"SaveV2": 3, "SaveSlices": 3, "Save": 2}
_NAMES_INPUT = 1


def saved_names(recognized: RecognizedGraph) -> Optional[Dict[int, str]]:
    """The name in the checkpoint of each variable that is saved, by the variable's node.

    This is about the Saver that was stored with the graph or, without one, about all in it.
    None if the graph has no Saver.
    """
    graph = recognized.graph
    saves = graph.of_types(SAVES)
    save_tensor = recognized.loaded.save_tensor
    stored = graph.tensor(save_tensor) if save_tensor else None
    if stored is not None:
        before = closure([stored.node], graph.sources)
        saves = [node for node in saves if node in before]
    if not saves:
        return None
    saved: Dict[int, str] = {}
    for save in saves:
        inputs = graph.data_inputs(save)
        tensors = inputs[_FIRST_TENSOR[graph.types[save]] :]
        names = _strings(recognized, inputs[_NAMES_INPUT]) if tensors else []
        for position, tensor in enumerate(tensors):
            for variable in _variables_behind(recognized, tensor):
                known = position < len(names)
                saved[variable] = (
                    names[position] if known else checkpoint_name(recognized, variable)
                )
    return saved


def checkpoint_name(recognized: RecognizedGraph, variable: int) -> str:
    """The name under which a Saver saves a variable if nobody says otherwise."""
    return PARTITION.sub("", recognized.graph.names[variable])


def _variables_behind(recognized: RecognizedGraph, tensor: Tensor) -> Set[int]:
    """The variables that a tensor is made of, or is the sum or mean of, as one of replicas is."""
    seen, stack, found = {tensor}, [tensor], set()
    while stack and len(seen) < limits.REPLICA_TENSORS:
        for origin in recognized.provenance.origins(stack.pop()):
            found.update(recognized.provenance.variables(origin))
            if recognized.graph.types[origin.node] in ARITHMETIC:
                new = [one for one in recognized.graph.data_inputs(origin.node) if one not in seen]
                seen.update(new)
                stack += new
    return found


def _strings(recognized: RecognizedGraph, tensor: Tensor) -> List[str]:
    origins = recognized.provenance.origins(tensor)
    if len(origins) != 1 or recognized.graph.types[origins[0].node] != "Const":
        return []
    values = recognized.graph.attributes(origins[0].node)["value"].tensor.string_val
    return [value.decode("utf-8", "replace") for value in values]
