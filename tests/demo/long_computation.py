"""A long computation with several threads and file mappings whose output depends on all of it.

Usage: long_computation.py INPUT PROGRESS ROUNDS

Maps INPUT twice (read-only and private writable), lets four threads work on it in turns for ROUNDS
rounds each, and prints one line per thread and a digest of everything at the end. Writes the number
of finished rounds to the file PROGRESS, so that others can see how far it is.
"""

import ctypes
import hashlib
import mmap
import os
import sys
import threading


def main():
    os.closerange(3, 1024)  # what the shell, or what started it, left open
    input_path, progress_path, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(input_path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
        private = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
    progress = open(progress_path, "wb", buffering=0)
    done = 0
    lock = threading.Lock()
    finished = threading.Condition(lock)
    results = {}
    size = len(shared)
    native = ctypes.create_string_buffer(1 << 20)

    def work(number):
        nonlocal done
        state = hashlib.sha256(str(number).encode())
        history = []
        for step in range(rounds):
            offset = (number * 7919 + step * 4099) % (size - 4096)
            state.update(shared[offset:offset + 4096])
            block = hashlib.blake2b(state.digest() + private[offset:offset + 512]).digest()
            with lock:
                private[offset:offset + 64] = block
                native[offset % (1 << 19)] = block[0]
                history.append(block[:2].hex())
                done += 1
                if done % 64 == 0:
                    progress.write(b"%d\n" % done)
        with finished:
            results[number] = (state.hexdigest(), len(history))
            finished.notify_all()

    # Each worker waits for its predecessor, so that the result does not depend on how the system
    # schedules them, and stays until the last one is done.
    def in_order(number, gate, next_gate):
        gate.wait()
        work(number)
        next_gate.set()
        gates[4].wait()

    gates = [threading.Event() for _ in range(5)]
    threads = [threading.Thread(target=in_order, args=(i, gates[i], gates[i + 1])) for i in range(4)]
    for thread in threads:
        thread.start()
    gates[0].set()
    gates[4].wait()
    with finished:
        while len(results) < 4:
            finished.wait()
    for thread in threads:
        thread.join()
    total = hashlib.sha256()
    total.update(private[:])
    total.update(native.raw)
    for number in sorted(results):
        print("thread", number, *results[number])
        total.update(results[number][0].encode())
    print("total", total.hexdigest())


main()
