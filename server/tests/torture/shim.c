/* Stands between a program and the disk, by LD_PRELOAD: writes down what it does to one folder, and fails, delays or
 * shifts what the test asks for. It never changes what is written. `shim.rs` builds it and speaks for it.
 *
 * Every call that changes a file or a name is done first and written down then; a sync is written down before and after.
 * So what is in the trace before the first mark of a sync had been done when that sync began. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The same fields, in the same order, are in shim.rs. */
struct control {
    uint64_t position;   /* records in the trace */
    int64_t clock_ns;    /* added to the real-time clock */
    uint64_t sync_us;    /* every sync of a file takes this much longer */
    uint64_t operations; /* which operations fail: WRITES, SYNCS, NAMES */
    uint64_t files;      /* of which files: LOG, INDEX, OTHER */
    uint64_t error;      /* the errno of the failure; 0: the process is killed there */
    uint64_t pass;       /* so many of them still succeed */
    uint64_t shorten;    /* a write that fails has written half before */
    uint64_t sticky;     /* all that follow fail as well */
    uint64_t fired;      /* failures so far */
    uint64_t frozen;     /* nothing more is done to the folder: who tries waits for the end */
    uint64_t inside;     /* calls that are being done and written down */
};
enum { WRITES = 1, SYNCS = 2, NAMES = 4 };
enum { LOG = 1, INDEX = 2, OTHER = 4 };

struct record {
    uint8_t kind;
    uint8_t zeros; /* the data are `size` zeros, and are left out */
    uint16_t first, second; /* lengths of the names behind this */
    uint16_t failed;
    uint32_t thread;
    uint32_t reserved;
    uint64_t inode, offset, size;
};

static struct control *control;
static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                                                                                        \
    static result (*real_##name)(__VA_ARGS__);                                                                         \
    if (!real_##name) real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("TORTURE_ROOT"), *shared = getenv("TORTURE_CONTROL"), *record = getenv("TORTURE_TRACE");
    if (!folder || !shared) return;
    snprintf(root, sizeof root, "%s", folder);
    REAL(int, open64, const char *, int, ...);
    int fd = real_open64(shared, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) abort();
    close(fd);
    if (record && (trace = real_open64(record, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) abort();
    control = page;
    root_length = strlen(root);
}

static int under(const char *path) {
    return root_length && strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

/* The path of a name, absolute; 0 when it is none of ours. */
static int locate(int folder, const char *name, char *path) {
    if (!control) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char link[64], above[PATH_MAX];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, above, sizeof above - 1);
        if (length < 0) return 0;
        above[length] = 0;
        if (snprintf(path, PATH_MAX, "%s/%s", above, name) >= PATH_MAX) return 0;
    }
    return under(path);
}

/* The path of an open file, and what it is; 0 when it is none of ours. */
static int opened(int fd, char *path, struct stat *found) {
    if (!control || fstat(fd, found) != 0 || !(S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return under(path);
}

static void leave(int *inside) {
    if (*inside) __atomic_sub_fetch(&control->inside, 1, __ATOMIC_SEQ_CST);
}
/* A call that changes the folder, from here to the end of the function that makes it. */
#define CHANGES(ours) int inside __attribute__((cleanup(leave))) = enter(ours)
static int enter(int ours) {
    if (!ours) return 0;
    __atomic_add_fetch(&control->inside, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&control->frozen, __ATOMIC_SEQ_CST)) {
        __atomic_sub_fetch(&control->inside, 1, __ATOMIC_SEQ_CST);
        for (;;) pause();
    }
    return 1;
}

static uint64_t class(const char *path) {
    if (strstr(path, "/log/")) return LOG;
    return strstr(path, "/index.") ? INDEX : OTHER;
}

static void note(char kind, int failed, uint64_t inode, uint64_t offset, uint64_t size, const char *first,
                 const char *second, const void *data) {
    if (trace < 0) return;
    int before = errno;
    struct record record = {.kind = kind, .failed = failed, .thread = (uint32_t)gettid(), .inode = inode,
                            .offset = offset, .size = size};
    if (first) record.first = strlen(first);
    if (second) record.second = strlen(second);
    const char *bytes = data;
    if (data && size >= 4096 && !bytes[0] && memcmp(bytes, bytes + 1, size - 1) == 0) record.zeros = 1;
    struct iovec parts[4] = {{&record, sizeof record},
                             {(void *)first, record.first},
                             {(void *)second, record.second},
                             {(void *)data, data && !record.zeros ? size : 0}};
    ssize_t wanted = sizeof record + parts[1].iov_len + parts[2].iov_len + parts[3].iov_len;
    REAL(ssize_t, writev, int, const struct iovec *, int);
    pthread_mutex_lock(&lock);
    if (real_writev(trace, parts, 4) != wanted) abort(); /* A trace with a hole shows nothing. */
    __atomic_add_fetch(&control->position, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&lock);
    errno = before;
}

/* True when the test wants this to fail. */
static int fails(uint64_t operation, const char *path) {
    if (!(control->operations & operation) || !(control->files & class(path))) return 0;
    pthread_mutex_lock(&lock);
    int now = control->pass == 0 && (control->sticky || control->fired == 0);
    if (control->pass > 0) control->pass--;
    if (now) control->fired++;
    pthread_mutex_unlock(&lock);
    if (now && !control->error && !(operation == WRITES && control->shorten)) kill(getpid(), SIGKILL);
    if (now) note('F', 1, 0, 0, 0, path, NULL, NULL);
    if (now) errno = (int)control->error;
    return now;
}

/* Whether a write may be done: 1, or -1: it is to fail, after `*size` bytes. 0: it is none of ours. */
static int allowed(int ours, size_t *size, const char *path) {
    if (!ours) return 0;
    /* A write that is only cut goes on; one byte cannot be cut. */
    if (control->shorten && !control->sticky && *size < 2) return 1;
    if (!fails(WRITES, path)) return 1;
    *size = control->shorten ? *size / 2 : 0;
    return -1;
}

static ssize_t finish(int verdict, ssize_t written, struct stat *found, uint64_t offset, const void *data) {
    if (verdict == 0) return written;
    if (written > 0) note('W', 0, found->st_ino, offset, written, NULL, NULL, data);
    if (verdict > 0) return written;
    if (!control->error) kill(getpid(), SIGKILL);
    /* The first call is told how much it wrote, as a disk that is full tells it; the next one fails. */
    if (written > 0) return written;
    errno = (int)control->error;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[PATH_MAX];
    struct stat found;
    int ours = opened(fd, path, &found);
    CHANGES(ours);
    int verdict = allowed(ours, &size, path);
    uint64_t offset = verdict ? (fcntl(fd, F_GETFL) & O_APPEND ? (uint64_t)found.st_size : (uint64_t)lseek(fd, 0, SEEK_CUR)) : 0;
    return finish(verdict, verdict < 0 && !size ? 0 : real_write(fd, data, size), &found, offset, data);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    char path[PATH_MAX];
    struct stat found;
    int ours = opened(fd, path, &found);
    CHANGES(ours);
    int verdict = allowed(ours, &size, path);
    return finish(verdict, verdict < 0 && !size ? 0 : real_pwrite64(fd, data, size, offset), &found, offset, data);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

/* Several buffers are put together: the trace knows one. */
static char *together(const struct iovec *parts, int count, size_t *size) {
    *size = 0;
    for (int at = 0; at < count; at++) *size += parts[at].iov_len;
    char *all = malloc(*size ? *size : 1), *next = all;
    if (!all) abort();
    for (int at = 0; at < count; at++) {
        memcpy(next, parts[at].iov_base, parts[at].iov_len);
        next += parts[at].iov_len;
    }
    return all;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    char path[PATH_MAX];
    struct stat found;
    if (!opened(fd, path, &found)) return real_writev(fd, parts, count);
    size_t size;
    char *all = together(parts, count, &size);
    ssize_t written = write(fd, all, size);
    free(all);
    return written;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
    char path[PATH_MAX];
    struct stat found;
    if (!opened(fd, path, &found)) return real_pwritev64(fd, parts, count, offset);
    size_t size;
    char *all = together(parts, count, &size);
    ssize_t written = pwrite64(fd, all, size, offset);
    free(all);
    return written;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

static int sync_with(int (*real)(int), int fd) {
    char path[PATH_MAX];
    struct stat found;
    if (!opened(fd, path, &found)) return real(fd);
    CHANGES(1);
    note(S_ISDIR(found.st_mode) ? 'b' : 'B', 0, found.st_ino, 0, 0, path, NULL, NULL);
    if (control->sync_us && S_ISREG(found.st_mode)) usleep(control->sync_us);
    int done = fails(SYNCS, path) ? -1 : real(fd);
    note(S_ISDIR(found.st_mode) ? 'e' : 'E', done != 0, found.st_ino, 0, 0, path, NULL, NULL);
    return done;
}
int fsync(int fd) {
    REAL(int, fsync, int);
    return sync_with(real_fsync, fd);
}
int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return sync_with(real_fdatasync, fd);
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    char path[PATH_MAX];
    struct stat found;
    int ours = opened(fd, path, &found);
    CHANGES(ours);
    /* A size is set or not: there is no half of it. */
    if (ours && !(control->shorten && !control->sticky) && fails(WRITES, path)) return -1;
    int done = real_ftruncate64(fd, size);
    if (ours && done == 0) note('T', 0, found.st_ino, 0, size, NULL, NULL, NULL);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Calls that nothing in the folder is expected to use: the trace could not be believed after one. */
static void unexpected(const char *what, int fd) {
    char path[PATH_MAX];
    struct stat found;
    if (opened(fd, path, &found)) note('X', 0, found.st_ino, 0, 0, what, path, NULL);
}
int sync_file_range(int fd, off64_t offset, off64_t size, unsigned flags) {
    REAL(int, sync_file_range, int, off64_t, off64_t, unsigned);
    unexpected("sync_file_range", fd);
    return real_sync_file_range(fd, offset, size, flags);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    REAL(int, fallocate64, int, int, off64_t, off64_t);
    unexpected("fallocate", fd);
    return real_fallocate64(fd, mode, offset, size);
}
int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    REAL(int, posix_fallocate64, int, off64_t, off64_t);
    unexpected("posix_fallocate", fd);
    return real_posix_fallocate64(fd, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    unexpected("copy_file_range", to);
    return real_copy_file_range(from, at, to, there, size, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    unexpected("sendfile", to);
    return real_sendfile64(to, from, at, size);
}
ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sendfile64(to, from, at, size); }
void *mmap64(void *at, size_t size, int access, int flags, int fd, off64_t offset) {
    REAL(void *, mmap64, void *, size_t, int, int, int, off64_t);
    if (fd >= 0 && (flags & MAP_SHARED) && (access & PROT_WRITE)) unexpected("mmap", fd);
    return real_mmap64(at, size, access, flags, fd, offset);
}
void *mmap(void *at, size_t size, int access, int flags, int fd, off_t offset) {
    return mmap64(at, size, access, flags, fd, offset);
}

static int open_at(int folder, const char *name, int flags, mode_t mode) {
    REAL(int, openat64, int, const char *, int, ...);
    char path[PATH_MAX];
    struct stat found;
    int ours = (flags & (O_CREAT | O_TRUNC)) && locate(folder, name, path);
    CHANGES(ours);
    int before = ours && lstat(path, &found) == 0;
    if (ours && !before && (flags & O_CREAT) && fails(NAMES, path)) return -1;
    int fd = real_openat64(folder, name, flags, mode);
    if (ours && fd >= 0 && fstat(fd, &found) == 0) {
        if (!before) note('C', 0, found.st_ino, 0, 0, path, NULL, NULL);
        else if (flags & O_TRUNC) note('T', 0, found.st_ino, 0, 0, NULL, NULL, NULL);
    }
    return fd;
}
#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }
int open64(const char *name, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}
int open(const char *name, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
    MODE(flags)
    return open_at(folder, name, flags, mode);
}
int openat(int folder, const char *name, int flags, ...) {
    MODE(flags)
    return open_at(folder, name, flags, mode);
}

int renameat(int from, const char *old, int to, const char *new) {
    REAL(int, renameat, int, const char *, int, const char *);
    char first[PATH_MAX], second[PATH_MAX];
    int ours = locate(from, old, first) & locate(to, new, second);
    CHANGES(ours);
    if (ours && fails(NAMES, second)) return -1;
    int done = real_renameat(from, old, to, new);
    if (ours && done == 0) note('R', 0, 0, 0, 0, first, second, NULL);
    return done;
}
int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    char first[PATH_MAX], second[PATH_MAX];
    int ours = locate(from, old, first) & locate(to, new, second);
    CHANGES(ours);
    int done = real_renameat2(from, old, to, new, flags);
    if (ours && done == 0) note(flags ? 'X' : 'R', 0, 0, 0, 0, flags ? "renameat2" : first, second, NULL);
    return done;
}
int linkat(int from, const char *old, int to, const char *new, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    char first[PATH_MAX], second[PATH_MAX];
    int ours = locate(from, old, first) & locate(to, new, second);
    CHANGES(ours);
    int done = real_linkat(from, old, to, new, flags);
    if (ours && done == 0) note('L', 0, 0, 0, 0, first, second, NULL);
    return done;
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int unlinkat(int folder, const char *name, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char path[PATH_MAX];
    int ours = locate(folder, name, path);
    CHANGES(ours);
    int done = real_unlinkat(folder, name, flags);
    if (ours && done == 0) note('U', 0, 0, 0, 0, path, NULL, NULL);
    return done;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    char path[PATH_MAX];
    int ours = locate(folder, name, path);
    CHANGES(ours);
    int done = real_mkdirat(folder, name, mode);
    if (ours && done == 0) note('M', 0, 0, 0, 0, path, NULL, NULL);
    return done;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int done = real_clock_gettime(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME && control) {
        int64_t all = now->tv_sec * 1000000000LL + now->tv_nsec + __atomic_load_n(&control->clock_ns, __ATOMIC_RELAXED);
        now->tv_sec = all / 1000000000LL;
        now->tv_nsec = all % 1000000000LL;
    }
    return done;
}
