/* Intel AMX in software, for processors without it: preload it, and AMX instructions that raise SIGILL are executed here.
 *
 * Every thread has its eight tiles. What the manual makes a fault (tiles that are not configured or do not fit each
 * other, a configuration with reserved bits) is left to the previous handler of SIGILL, so that it ends the process.
 * tdpbf16ps rounds as the manual's pseudocode does: denormal inputs and results are zero, the sums of the even and of
 * the odd members of all pairs are kept apart until the end, and MXCSR's rounding mode is not consulted.
 *
 * The kernel's permission to use tiles is granted by a `syscall` of our own; all others are passed on.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, "Intel AMX instruction reference".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <immintrin.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64, PALETTE = 1, CONFIG_BYTES = 64 };
enum { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };
enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };

typedef struct {
    int rows, row_bytes; /* 0: not configured */
    uint8_t data[ROWS][ROW_BYTES];
} Tile;

typedef struct {
    int length, prefix, opcode, mod, reg, rm, vvvv;
    uint64_t address, stride; /* of a memory operand */
} Instruction;

static __thread Tile tiles[TILES] __attribute__((tls_model("initial-exec")));
static struct sigaction previous;
static uint64_t products;

/* how many tdpbf16ps were executed in this process */
uint64_t amx_emulator_products(void) { return __atomic_load_n(&products, __ATOMIC_RELAXED); }

/* ucontext numbers the registers in an order of its own */
static uint64_t register_of(const ucontext_t *context, int number) {
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

static int32_t signed_at(const uint8_t *bytes, int size) {
    int32_t value;
    if (size == 1) return (int8_t)*bytes;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* 0 if it is none of AMX */
static int decode(const ucontext_t *context, Instruction *out) {
    const uint8_t *start = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP], *at = start;
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84)) return 0; /* VEX, three bytes, 0F38, W0, 128 bits */
    int extra_reg = !(at[1] & 0x80), extra_index = !(at[1] & 0x40), extra_base = !(at[1] & 0x20);
    *out = (Instruction){.vvvv = ~(at[2] >> 3) & 15, .prefix = at[2] & 3, .opcode = at[3]};
    if (out->opcode != 0x49 && out->opcode != 0x4b && out->opcode != 0x5c) return 0;
    out->mod = at[4] >> 6, out->reg = (at[4] >> 3 & 7) | extra_reg << 3, out->rm = (at[4] & 7) | extra_base << 3;
    at += 5;
    if (out->mod != 3) {
        int displacement = out->mod == 1 ? 1 : out->mod == 2 ? 4 : 0, relative = 0;
        if ((out->rm & 7) == 4) {
            int base = (*at & 7) | extra_base << 3, index = (*at >> 3 & 7) | extra_index << 3, scale = *at >> 6;
            at++;
            if (index != 4) out->stride = register_of(context, index) << scale;
            if (out->mod == 0 && (base & 7) == 5)
                displacement = 4;
            else
                out->address = register_of(context, base);
        } else if (out->mod == 0 && (out->rm & 7) == 5) {
            displacement = 4, relative = 1;
        } else {
            out->address = register_of(context, out->rm);
        }
        if (displacement) out->address += (uint64_t)(int64_t)signed_at(at, displacement);
        at += displacement;
        if (relative) out->address += (uint64_t)at;
    }
    out->length = (int)(at - start);
    return 1;
}

static int configure(const uint8_t *config) {
    if (config[0] == 0) {
        memset(tiles, 0, sizeof tiles);
        return 1;
    }
    if (config[0] != PALETTE) return 0;
    for (int i = 1; i < 16; i++)
        if (config[i]) return 0;
    for (int i = 16 + 2 * TILES; i < CONFIG_BYTES; i++)
        if (config[i] && (i < 48 || i >= 48 + TILES)) return 0;
    memset(tiles, 0, sizeof tiles);
    for (int i = 0; i < TILES; i++) {
        int row_bytes = config[16 + 2 * i] | config[17 + 2 * i] << 8, rows = config[48 + i];
        if (row_bytes > ROW_BYTES || rows > ROWS || !row_bytes != !rows) return 0;
        tiles[i].rows = rows, tiles[i].row_bytes = row_bytes;
    }
    return 1;
}

static void describe(uint8_t *config) {
    memset(config, 0, CONFIG_BYTES);
    for (int i = 0; i < TILES; i++) {
        if (!tiles[i].rows) continue;
        config[0] = PALETTE, config[16 + 2 * i] = (uint8_t)tiles[i].row_bytes, config[48 + i] = (uint8_t)tiles[i].rows;
    }
}

static Tile *tile_of(int number) { return number < TILES && tiles[number].rows ? &tiles[number] : 0; }

static float widened(const uint8_t *half) {
    uint32_t bits = (uint32_t)half[0] << 16 | (uint32_t)half[1] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int multiply(Tile *sums, const Tile *a, const Tile *b) {
    if (!sums || !a || !b || sums == a || sums == b || a == b) return 0;
    if (sums->row_bytes % 4 || a->row_bytes % 4 || sums->row_bytes != b->row_bytes) return 0;
    if (sums->rows != a->rows || a->row_bytes / 4 != b->rows) return 0;
    unsigned mxcsr = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* exceptions masked, to nearest, denormals are zero on the way in and out */
    for (int m = 0; m < sums->rows; m++) {
        float even[ROW_BYTES / 4] = {0}, odd[ROW_BYTES / 4] = {0}, row[ROW_BYTES / 4];
        for (int k = 0; k < b->rows; k++) {
            float first = widened(&a->data[m][4 * k]), second = widened(&a->data[m][4 * k + 2]);
            for (int n = 0; n < sums->row_bytes / 4; n++) {
                even[n] = __builtin_fmaf(first, widened(&b->data[k][4 * n]), even[n]);
                odd[n] = __builtin_fmaf(second, widened(&b->data[k][4 * n + 2]), odd[n]);
            }
        }
        memcpy(row, sums->data[m], sizeof row);
        for (int n = 0; n < sums->row_bytes / 4; n++) row[n] += even[n] + odd[n];
        memcpy(sums->data[m], row, sizeof row);
    }
    _mm_setcsr(mxcsr);
    __atomic_add_fetch(&products, 1, __ATOMIC_RELAXED);
    return 1;
}

static int load(Tile *tile, const Instruction *it) {
    if (!tile) return 0;
    memset(tile->data, 0, sizeof tile->data);
    for (int i = 0; i < tile->rows; i++)
        memcpy(tile->data[i], (const void *)(it->address + (uint64_t)i * it->stride), (size_t)tile->row_bytes);
    return 1;
}

static int store(const Tile *tile, const Instruction *it) {
    if (!tile) return 0;
    for (int i = 0; i < tile->rows; i++)
        memcpy((void *)(it->address + (uint64_t)i * it->stride), tile->data[i], (size_t)tile->row_bytes);
    return 1;
}

/* 0 if the processor would raise an exception */
static int execute(const Instruction *it) {
    int in_memory = it->mod != 3;
    if (it->opcode == 0x5c)
        return !in_memory && it->prefix == PREFIX_F3 && multiply(tile_of(it->reg), tile_of(it->rm), tile_of(it->vvvv));
    if (it->vvvv != 0) return 0;
    if (it->opcode == 0x4b) {
        if (!in_memory || (it->rm & 7) != 4) return 0;
        if (it->prefix == PREFIX_F3) return store(tile_of(it->reg), it);
        return it->prefix != PREFIX_NONE && load(tile_of(it->reg), it); /* tileloadd, tileloaddt1 */
    }
    if (it->prefix == PREFIX_F2 && !in_memory && it->rm == 0) {
        Tile *tile = tile_of(it->reg);
        return tile && memset(tile->data, 0, sizeof tile->data);
    }
    if (it->reg != 0) return 0;
    if (it->prefix == PREFIX_NONE && in_memory) return configure((const uint8_t *)it->address);
    if (it->prefix == PREFIX_66 && in_memory) return describe((uint8_t *)it->address), 1;
    return it->prefix == PREFIX_NONE && it->rm == 0 && memset(tiles, 0, sizeof tiles); /* tilerelease */
}

static void on_illegal_instruction(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    Instruction instruction;
    if (decode(context, &instruction) && execute(&instruction)) {
        context->uc_mcontext.gregs[REG_RIP] += instruction.length;
    } else if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, opaque);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        signal(SIGILL, SIG_DFL); /* the instruction is met again, and ends the process */
    }
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action = {.sa_sigaction = on_illegal_instruction, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &action, &previous);
}

long syscall(long number, ...) {
    long at[6], result;
    va_list given;
    va_start(given, number);
    for (int i = 0; i < 6; i++) at[i] = va_arg(given, long);
    va_end(given);
    if (number == SYS_arch_prctl && at[0] == REQ_XCOMP_PERM) return at[1] == XTILEDATA ? 0 : (errno = EINVAL, -1);
    register long r10 __asm__("r10") = at[3], r8 __asm__("r8") = at[4], r9 __asm__("r9") = at[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(at[0]), "S"(at[1]), "d"(at[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result < 0 && result > -4096 ? (errno = (int)-result, -1) : result;
}
