#define KBIT_LANES 4
#include "trellis/search.inc"

kbit::trellis::SearchColumns kbit::trellis::search_portable() { return &search_here; }
