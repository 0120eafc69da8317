#include "trellis/trellis.hpp"

#include <algorithm>
#include <vector>

#include "cpu.hpp"
#include "pool.hpp"

namespace kbit::trellis {
namespace {

SearchColumns chosen() {
    const std::string name = choose_path("").name;
    if ((name == "amx" || name == "avx512") && search_avx512()) return search_avx512();
    if (name != "portable" && search_avx2()) return search_avx2();
    return search_portable();
}

constexpr int64_t kColumnsATask = 4;
constexpr int64_t kRowsATask = 64;

}  // namespace

void search(const Search &what, int threads) {
    const SearchColumns columns = chosen();
    const int64_t tasks = (what.count + kColumnsATask - 1) / kColumnsATask;
    parallel_for(static_cast<size_t>(tasks), threads, [&](size_t task) {
        const int64_t first = static_cast<int64_t>(task) * kColumnsATask;
        columns(what, first, std::min(first + kColumnsATask, what.count));
    });
}

void values(const Values &what, int threads) {
    const Ops &ops = choose_ops("");
    const uint32_t mask = (uint32_t{1} << what.window) - 1;
    const int64_t history = (what.window + what.bits - 1) / what.bits - 1;
    const int64_t tasks = (what.count + kRowsATask - 1) / kRowsATask;
    parallel_for(static_cast<size_t>(tasks), threads, [&](size_t task) {
        std::vector<uint8_t> row(static_cast<size_t>(what.cols));
        std::vector<uint32_t> state(static_cast<size_t>(what.cols));
        const auto push = [&](int64_t number) {
            const ByteRows one{what.codes.data + number * what.codes.row_stride, what.codes.row_stride,
                               what.codes.col_stride};
            unpack_rows(ops, one, 1, what.cols, what.bits, row.data(), 1);
            for (int64_t c = 0; c < what.cols; ++c) state[c] = ((state[c] << what.bits) | row[c]) & mask;
        };
        const int64_t first = static_cast<int64_t>(task) * kRowsATask;
        const int64_t last = std::min(first + kRowsATask, what.count);
        int64_t at = -2;  // the row whose state is held
        for (int64_t i = first; i < last; ++i) {
            const int64_t number = what.numbers ? what.numbers[i] : what.first + i;
            const int64_t back = number == at + 1 && i > first ? 0 : history;
            for (int64_t step = back; step >= 0; --step) {
                push(((number - step) % what.rows + what.rows) % what.rows);
            }
            at = number;
            float *out = what.out + i * what.cols;
            for (int64_t c = 0; c < what.cols; ++c) out[c] = what.table[state[c]];
        }
    });
}

}  // namespace kbit::trellis
