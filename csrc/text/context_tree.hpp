// Context-tree weighting over bytes: every context depth from 0 to D at once, mixed by how well each did.
#pragma once

#include <cstdint>
#include <vector>

namespace kbit {

// A byte is eight binary decisions, most significant first; each decision has a context tree of its own over
// the bytes before it (the decomposition of Willems, Shtarkov & Tjalkens 1995, section VII, and Volf 2002).
// In each tree a node at depth d has counts of zeros and ones for the Krichevsky-Trofimov estimator, and
// beta = Pe / (product of Pw of its children). With Pw = (Pe + product of Pw of children) / 2 the conditional
// probability of the next bit x is
//     Pw_d(x) = (beta_d * Pe_d(x) + Pw_{d+1}(x)) / (beta_d + 1),   Pw_D(x) = Pe_D(x),
// and after x: beta_d *= Pe_d(x) / Pw_{d+1}(x).
//
// Before a text stands a begin symbol, no byte, repeated: contexts near the beginning are contexts too.
// Nodes lie in one hash table (linear probing, 64-bit keys). It doubles until it would hold more than
// max_nodes; then no further context is split, and those there go on learning: still a code.
class ContextTree {
public:
    ContextTree(int depth, int64_t max_nodes);

    // Forget the text so far, not what was learnt from it.
    void begin();
    // Forget everything.
    void clear();
    // Learn `count` bytes; bits[i], where given, is what byte i cost.
    void code(const uint8_t *bytes, int64_t count, double *bits);
    // Probability of each byte that can follow. Changes nothing.
    void predict(double *probability);
    // From here on, remember what changes (and make room first for `bytes` bytes) ...
    void mark(int64_t bytes);
    // ... and put it all back as it was at the mark.
    void rollback();

    int64_t nodes() const { return used_; }
    int64_t max_nodes() const { return max_nodes_; }

private:
    struct Node {  // 20 bytes: halves of the key keep it aligned to four
        uint32_t high = 0, low = 0;  // both zero: an empty slot
        float beta = 1;
        uint32_t zeros = 0, ones = 0;
        bool empty() const { return (high | low) == 0; }
        uint64_t key() const { return (uint64_t{high} << 32) | low; }
    };
    struct Change {
        int64_t slot;
        Node before;
    };

    int64_t find(uint64_t key, bool make);
    double code_bit(uint32_t prefix, int bit, bool make);
    // Whether a whole byte's nodes can still be made. Asked once a byte, so that predict() and code() agree.
    bool has_room() const { return used_ + 8 * (depth_ + 1) <= max_nodes_; }
    void make_slots(int64_t nodes);
    void hash_contexts();

    static constexpr int most_depth = 32;
    int depth_;
    int64_t max_nodes_, used_ = 0, used_at_mark_ = 0;
    std::vector<Node> table_;
    uint64_t context_hash_[most_depth + 1];
    int history_[most_depth];  // the byte before, the one before that, ...; 256 before the beginning
    // What a mark remembers: single nodes, or, where that would be more, the whole table.
    std::vector<Change> changes_;
    std::vector<Node> copy_;
    bool logging_ = false;
};

}  // namespace kbit
