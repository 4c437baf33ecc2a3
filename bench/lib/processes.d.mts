export function processTree(pid: number): number[];
export function residentBytes(pid: number): Record<string, number>;
export function treeBytes(pid: number): number;
export function cpuSeconds(pid: number): number;
export function threadSeconds(pid: number): { main: number; others: number };
