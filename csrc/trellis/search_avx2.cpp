#include "trellis/trellis.hpp"

#if defined(__AVX2__)
#define KBIT_LANES 8
#include "trellis/search.inc"

kbit::trellis::SearchColumns kbit::trellis::search_avx2() { return &search_here; }
#else
kbit::trellis::SearchColumns kbit::trellis::search_avx2() { return nullptr; }
#endif
