from typing import Dict, List, Optional, Sequence, Tuple

_Rows = List[Tuple[int, ...]]

def read_nodes(
    nodes: Sequence[bytes],
) -> Optional[Tuple[List[bytes], Dict[bytes, int], List[str], _Rows, _Rows, List[int]]]: ...
